"""Lines from states within a training to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace

from linescape import studies
from linescape.recipe import MLP, Data, Moment, Optimizer, Recipe, Schedule
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Keep, Scan
from linescape.studies.works.frankle2020revisit import EPOCHS, STEPS, states


def test_states_lie_within_the_training() -> None:
    for arm in studies.find("frankle2020revisit", "mini").arms:
        run = arm.runs[0]
        kept = states(run.recipe)
        assert [moment.number for moment in kept] == [*STEPS, *(n for n in EPOCHS if n < run.recipe.schedule.epochs)]
        assert list(run.lines) == ["whole", *(f"from {moment}" for moment in kept)]
        assert all(line.end == Moment(run.recipe) and line.alphas == 100 for line in run.lines.values())


def test_one_training_keeps_all_states_of_a_run() -> None:
    study = studies.find("frankle2020revisit", "demo")
    kept = [task for task in study.tasks() if isinstance(task, Keep)]
    assert len(kept) == sum(len(states(run.recipe)) for arm in study.arms for run in arm.runs)
    assert {task.recipe for task in kept} == {run.recipe for arm in study.arms for run in arm.runs}


@pytest.mark.parametrize("at", ["step", "epoch"])
def test_the_line_from_step_0_is_the_whole_line(at: Literal["step", "epoch"]) -> None:
    """They are one task, so they have the same bits."""
    recipe = Recipe(Data("digits"), MLP((8,)), Optimizer(batch_size=256), Schedule(1))
    whole = Scan(Moment(recipe, "start"), Moment(recipe), alphas=3)
    assert Scan(Moment(recipe, at, 0), Moment(recipe), alphas=3) == whole


def test_the_line_is_the_beginning_of_one_that_goes_beyond_its_end(tmp_path: Path) -> None:
    recipe = Recipe(Data("digits"), MLP((8,)), Optimizer(batch_size=256), Schedule(1))
    whole = Scan(Moment(recipe, "start"), Moment(recipe), alphas=5, train_examples=50, test_examples=50)
    beyond = replace(whole, positions=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5))
    store = Store(tmp_path)
    work([whole, beyond], store, progress=False, workers=1)
    values, longer = (store.curve(scan)["train", "cross_entropy", "interpolate"].values for scan in (whole, beyond))
    assert np.array_equal(values, longer[:5])
