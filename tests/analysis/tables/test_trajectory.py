"""Coordinates of a state relative to a line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from linescape.analysis import tables
from linescape.analysis.tables.trajectory import coordinates
from linescape.geometry.state import State
from linescape.recipe import MLP, Data, Moment, Optimizer, Recipe, Schedule
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Arm, Keep, Run, Scan, Study


def point(*values: float) -> State:
    """A state of two parameters, with a buffer that does not count."""
    a, b = torch.tensor(values[:1]), torch.tensor(values[1:])
    return State({"a": a, "b": b}, {"running": torch.tensor([100.0 * values[0]])})


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ((1.0, 1.0, 1.0), (0.0, 0.0)),
        ((1.0, 1.0, 5.0), (1.0, 0.0)),
        ((1.0, 1.0, 3.0), (0.5, 0.0)),
        ((4.0, 5.0, 3.0), (0.5, 1.25)),  # 5 beside the middle of a line of length 4
        ((1.0, 3.0, -3.0), (-1.0, 0.5)),
    ],
)
def test_coordinates(state: tuple[float, ...], expected: tuple[float, float]) -> None:
    assert coordinates(point(1, 1, 1), point(1, 1, 5), point(*state)) == pytest.approx(expected, abs=1e-12)


def test_without_a_line_there_are_no_coordinates() -> None:
    assert all(math.isnan(value) for value in coordinates(point(1, 1, 1), point(1, 1, 1), point(1, 2, 3)))


def test_the_way_of_a_training_is_read_from_its_store(tmp_path: Path) -> None:
    recipe = Recipe(Data("digits"), MLP((8,)), Optimizer(batch_size=512), Schedule(2))
    kept = (Moment(recipe, "step", 1), Moment(recipe, "epoch", 1))
    line = Scan(Moment(recipe, "start"), Moment(recipe), alphas=3, train_examples=50, test_examples=50)
    study = Study("own", "", "own", "", (Arm("base", "base", "base", (Run(recipe, {"whole": line}, kept=kept),)),))
    store = Store(tmp_path)
    before = tables.read(study, store)
    assert before.trajectories.is_empty()
    assert before.runs["missing"].to_list() == [["training", "state after step 1", "state after epoch 1", "whole"]]
    assert [task for task in study.tasks() if isinstance(task, Keep)] == [Keep(moment) for moment in kept]
    work(study, store, progress=False, workers=1)
    rows = tables.read(study, store).trajectories
    assert rows["state"].to_list() == ["start", "step 1", "epoch 1", "end"]
    vectors = [
        torch.cat([value.double().flatten() for value in store.state(moment).parameters.values()])
        for moment in (Moment(recipe, "start"), *kept, Moment(recipe))
    ]
    start, first, end = vectors[0], vectors[1], vectors[-1]
    along = float((first - start) @ (end - start) / (end - start).square().sum())
    beside = float((first - start - along * (end - start)).norm() / (end - start).norm())
    assert rows.row(1)[-2:] == pytest.approx((along, beside), rel=1e-12)
    assert rows.row(0)[-2:] == (0.0, 0.0)
    assert rows.row(3)[-2:] == (1.0, 0.0)
