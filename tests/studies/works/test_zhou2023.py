"""Pairs of networks whose features are compared."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape import studies
from linescape.recipe import Moment
from linescape.studies.paths import Aligned, Straight
from linescape.studies.study import Features, Run, Train
from linescape.studies.works import zhou2023


@pytest.mark.parametrize("scale", zhou2023.SCALES)
def test_features_and_line_are_of_the_same_two_networks_and_have_a_middle(scale: str) -> None:
    for arm in studies.find("zhou2023", scale).arms:
        recipes = []
        for run in arm.runs:
            line, features = run.lines["between"], run.measured[Features]["between"]
            assert (line.start, line.end, line.along) == (features.start, features.end, features.along)
            assert line.batchnorm == (features.batchnorm,)
            assert line.alphas == features.alphas
            assert 0.5 in line.grid
            assert line.start == Moment(run.recipe)
            recipes += [line.start.recipe, line.end.recipe]
        assert len(set(recipes)) == len(recipes), "pairs share no network"


def test_arms_differ_in_how_two_networks_are_related() -> None:
    arms = {arm.name: arm for arm in studies.find("zhou2023", "mini").arms}
    assert list(arms) == ["independent", "step-0", "step-28", "step-94", "step-283", "step-565", "mlp", "mlp-aligned"]
    first, second = (moment.recipe for moment in _ends(arms["step-0"].runs[0]))
    assert (first.init, first.seed) == (second.init, second.seed)
    assert replace(first, order_seed=second.order_seed) == second
    networks = [{moment.recipe for run in arms[name].runs for moment in _ends(run)} for name in ("mlp", "mlp-aligned")]
    assert not networks[0] & networks[1], "arms are independent of each other"
    assert arms["mlp"].runs[0].lines["between"].along == Straight()
    assert arms["mlp-aligned"].runs[0].measured[Features]["between"].along == Aligned("weights")
    assert arms["mlp"].runs[0].measured[Features]["between"].batchnorm == "interpolate"
    assert arms["independent"].runs[0].measured[Features]["between"].batchnorm == "recalibrate"


def test_layers_are_those_outside_of_blocks_and_the_blocks_but_the_first() -> None:
    arms = studies.find("zhou2023", "mini").arms
    assert arms[0].runs[0].measured[Features]["between"].layers == ("layer1.0", "layer2.0", "layer3.0", "fc")
    assert arms[-1].runs[0].measured[Features]["between"].layers == ("layers.1", "layers.2", "layers.3")


def test_copies_are_those_of_another_study_and_mlps_too() -> None:
    ours = {task for task in studies.find("zhou2023", "mini").tasks() if isinstance(task, Train)}
    for name in ("frankle2020lmc", "ainsworth2022"):
        theirs = {task for task in studies.find(name, "mini").tasks() if isinstance(task, Train)}
        assert len(ours & theirs) >= 10


def _ends(run: Run) -> tuple[Moment, Moment]:
    return run.lines["between"].start, run.lines["between"].end
