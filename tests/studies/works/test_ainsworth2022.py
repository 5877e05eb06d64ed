"""Pairs of trainings, the same for both studies of alignment, and the lines between them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape import studies
from linescape.recipe import Moment
from linescape.studies.paths import Aligned, Straight
from linescape.studies.study import Train
from linescape.studies.works import ainsworth2022, jordan2022


@pytest.mark.parametrize("scale", ainsworth2022.SCALES)
@pytest.mark.parametrize("name", ["ainsworth2022", "jordan2022"])
def test_lines_go_between_two_seeds_and_have_a_middle(name: str, scale: str) -> None:
    for arm in studies.find(name, scale).arms:
        recipes = []
        for run in arm.runs:
            between = [line for label, line in run.lines.items() if label != "whole"]
            assert len({(line.start, line.end) for line in between}) == 1
            first, second = between[0].start.recipe, between[0].end.recipe
            assert run.recipe == first
            assert first != replace(second, seed=first.seed) or first.seed != second.seed
            assert replace(second, seed=first.seed) == first
            assert between[0].end == Moment(second)
            assert all(0.5 in line.grid for line in between)
            recipes += [first, second]
        assert len(set(recipes)) == len(recipes), "pairs share no network"


def test_lines_of_each_network() -> None:
    for arm in studies.find("ainsworth2022", "mini").arms:
        assert {label: line.along for label, line in arm.runs[0].lines.items()} == {
            "whole": Straight(),
            "straight": Straight(),
            "aligned by weights": Aligned("weights"),
            "aligned by activations": Aligned("activations"),
        }
    vgg, plain, _ = studies.find("jordan2022", "mini").arms
    assert vgg.runs[0].lines["aligned"].batchnorm == ("interpolate", "recalibrate")
    assert plain.runs[0].lines[jordan2022.RESCALED].along == Aligned("activations", repaired=True)
    assert plain.runs[0].lines["aligned"].batchnorm == ("interpolate",)


def test_trainings_of_the_base_are_shared() -> None:
    theirs = {task for task in studies.find("vlaar2022", "mini").tasks() if isinstance(task, Train)}
    ours = {Train(run.recipe) for run in studies.find("jordan2022", "mini").arms[2].runs}
    assert ours & theirs
