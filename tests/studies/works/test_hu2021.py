"""Pairs of fine-tunings by LoRA, and their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from linescape import studies
from linescape.analysis import tables
from linescape.analysis.answers import answers
from linescape.recipe import LoRA, Moment, Recipe, Trained
from linescape.studies.paths import InMergedWeights, Straight
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Run
from linescape.studies.works.hu2021 import FACTORS, MERGED, OWN_MERGED, SAME_DRAW, SCALES, WHOLE

ARMS = {arm.name: arm for arm in studies.find("hu2021", "mini").arms}


def pretraining(recipe: Recipe) -> Recipe:
    assert isinstance(recipe.init, Trained)
    return recipe.init.recipe


def ends(run: Run) -> tuple[Recipe, Recipe]:
    return run.lines[FACTORS].start.recipe, run.lines[FACTORS].end.recipe


@pytest.mark.parametrize("scale", SCALES)
def test_pairs_of_an_arm_share_nothing_and_a_pair_its_pretraining(scale: str) -> None:
    for arm in studies.find("hu2021", scale).arms:
        pairs = [ends(run) for run in arm.runs]
        before = [{pretraining(recipe) for recipe in pair} for pair in pairs]
        assert all(len(each) == 1 for each in before)
        recipes = [recipe for pair in pairs for recipe in pair]
        assert len(set.union(*before)) == len(set(recipes)) / 2 == len(pairs)
        assert all(run.recipe == first for run, (first, _) in zip(arm.runs, pairs, strict=True))
        for recipe in recipes:
            other = pretraining(recipe)
            assert not isinstance(other.model, LoRA)
            assert recipe.init == Trained(other, reset=("fc",))
            assert not set(recipe.data.classes) & set(other.data.classes)


def test_the_two_lines_have_the_same_ends() -> None:
    for arm in ARMS.values():
        for run in arm.runs:
            own, between = run.lines["whole"], run.lines[FACTORS]
            assert (own.start, own.end) == (Moment(run.recipe, "start"), Moment(run.recipe))
            assert own.along == between.along == Straight()
            if arm.name == WHOLE:
                assert set(run.lines) == {"whole", FACTORS}
                continue
            assert run.lines[OWN_MERGED] == replace(own, along=InMergedWeights())
            assert run.lines[MERGED] == replace(between, along=InMergedWeights())


def test_arms_differ_in_what_they_are_named_by() -> None:
    models = {name: ends(arm.runs[0])[0].model for name, arm in ARMS.items()}
    ranks = {name: (model.rank, model.alpha) for name, model in models.items() if isinstance(model, LoRA)}
    assert ranks == {
        **{"rank-4": (4, 4.0), "rank-1": (1, 1.0), "rank-16": (16, 16.0)},
        **{"same-draw": (4, 4.0), "resnet": (4, 4.0)},
    }
    for two, one in zip(ARMS["rank-4"].runs, ARMS[SAME_DRAW].runs, strict=True):
        first, second = ends(one)
        assert first == replace(second, order_seed=1)
        assert second == ends(two)[0]
        assert pretraining(first) == pretraining(ends(two)[1])


def test_the_pretraining_of_the_resnet_is_that_of_another_work() -> None:
    theirs = {
        pretraining(run.recipe)
        for arm in studies.find("neyshabur2020", "mini").arms
        for run in arm.runs
        if isinstance(run.recipe.init, Trained)
    }
    assert {pretraining(run.recipe) for run in ARMS["resnet"].runs} & theirs


@pytest.mark.slow
def test_the_demo_is_measured(tmp_path: Path) -> None:
    """With one pair, whose lines are exact at both ends and differ between them."""
    study, store = studies.find("hu2021", "demo").only(runs=1), Store(tmp_path)
    assert not work(study, store, progress=False).failed
    results = tables.read(study, store)
    (answer,) = answers(results)
    rows = {row["arm"]: row for row in answer.numbers.to_dicts()}
    assert rows["rank-4"]["apart"] > 0.1
    assert rows["rank-4"]["factors"] != rows["rank-4"]["merged"]
    assert rows[SAME_DRAW]["apart"] < rows["rank-4"]["apart"]
    lines = results.lines.filter(arm="rank-4", measure="cross_entropy", data="test")
    at = {label: dict(lines.filter(label=label).select("alpha", "mean").iter_rows()) for label in (FACTORS, MERGED)}
    assert [at[FACTORS][end] for end in (0.0, 1.0)] == [at[MERGED][end] for end in (0.0, 1.0)]
