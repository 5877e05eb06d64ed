"""Pairs of trainings, and the lines whose middles average some of their layers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape import studies
from linescape.recipe import Moment, Recipe
from linescape.studies.paths import RandomDirection
from linescape.studies.study import Arm, Greedy, Run, Train
from linescape.studies.works.adilova2024 import GREEDY, IN_RANDOM_ORDER, random_order
from linescape.studies.works.zhang2019 import layers

STUDY = studies.find("adilova2024", "mini")


def pair(run: Run) -> tuple[Recipe, Recipe]:
    line = run.lines["all layers"]
    assert line.start.at == line.end.at == "end"
    return line.start.recipe, line.end.recipe


def test_pairs_of_an_arm_share_no_network() -> None:
    for arm in STUDY.arms:
        networks = [recipe for run in arm.runs for recipe in pair(run)]
        assert len(set(networks)) == 2 * len(arm.runs)
        assert all(run.recipe in pair(run) for run in arm.runs)


def test_what_differs_in_a_pair() -> None:
    apart, same, without = STUDY.arms
    for run in (*apart.runs, *without.runs):
        first, second = pair(run)
        assert replace(second, seed=first.seed) == first != second
    for run in same.runs:
        first, second = pair(run)
        assert replace(second, order_seed=0) == first != second


def test_networks_without_normalisation_are_those_of_the_study_that_is_repeated() -> None:
    """They have no running statistics to re-estimate."""
    theirs = {task for task in studies.find("vlaar2022", "mini").tasks() if isinstance(task, Train)}
    run = STUDY.arms[2].runs[0]
    assert {Train(recipe) for recipe in pair(run)} <= theirs
    assert run.lines["all layers"].batchnorm == ("interpolate",)
    assert STUDY.arms[0].runs[0].lines["all layers"].batchnorm == ("interpolate", "recalibrate")


@pytest.mark.parametrize("arm", STUDY.arms, ids=lambda arm: arm.name)
def test_what_the_middle_of_each_line_averages(arm: Arm) -> None:
    for run in arm.runs:
        a, b = (Moment(recipe) for recipe in pair(run))
        names = layers(a.recipe)
        for name in names:
            in_a, in_b = run.lines[f"{name} in A"], run.lines[f"{name} in B"]
            assert (in_a.end, in_a.rest, in_a.moving) == (a, "end", (name,))
            assert (in_b.end, in_b.rest, in_b.moving) == (b, "end", (name,))
            for number in (1, 2):
                away = run.lines[f"{name} in direction {number}"]
                assert (away.start, away.rest, away.moving) == (a, "start", (name,))
                assert isinstance(away.along, RandomDirection)
        for count in range(2, len(names)):
            for label, moving in ((f"first {count}", names[:count]), (f"last {count}", names[-count:])):
                line = run.lines[f"{label} layers"]
                assert (line.end, line.rest, line.moving) == (a, "end", moving)
            line = run.lines[f"{count} {IN_RANDOM_ORDER}"]
            assert (line.end, line.rest, line.moving) == (a, "end", random_order(a.recipe, b.recipe)[:count])
        assert len(run.lines) == 2 + 4 * len(names) + 3 * (len(names) - 2)


def test_each_pair_has_an_order_of_its_own_and_a_greedy_one() -> None:
    drawn = [random_order(*pair(run)) for arm in STUDY.arms for run in arm.runs]
    assert len(set(drawn)) == len(drawn)
    for arm in STUDY.arms:
        for run in arm.runs:
            a, b = pair(run)
            assert sorted(random_order(a, b)) == sorted(layers(a))
            expected = Greedy(Moment(b), Moment(a), layers(a), 100, 1000)
            assert run.measured == {Greedy: {GREEDY: expected}}
