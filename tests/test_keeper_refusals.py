"""What a keeper refuses, before the training begins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from linescape.errors import AlphaError, DataError, LinescapeError, RecipeError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.interpolation.options import ScanOptions
from linescape.keeper import Keeper
from tests.support.keeping import INPUTS, TARGETS, TEST, network


def test_what_cannot_be_measured_is_said_before_the_training(tmp_path: Path) -> None:
    model = network()
    shuffled = DataLoader(TensorDataset(INPUTS, TARGETS), shuffle=True)
    with pytest.raises(DataError, match="shuffle=True"):
        Keeper(model, tmp_path, data={"test": shuffled}).__enter__()
    with pytest.raises(StateError, match="different tensors"):
        Keeper(model, tmp_path, data=Evaluator(nn.Linear(5, 3), TEST)).__enter__()
    with pytest.raises(RecipeError, match="steps=0"):
        Keeper(model, tmp_path, steps=0)
    assert not (tmp_path / "checkpoints").exists()


def test_inputs_that_the_network_does_not_take_are_said_before_the_training(tmp_path: Path) -> None:
    said = r"cannot be called with the first examples of 'test' \(\(4, 4\) float32"
    keeper = Keeper(network(), tmp_path, data={"test": (INPUTS[:, :4], TARGETS)})
    with pytest.raises(DataError, match=said), keeper:
        pytest.fail("the training began")
    normed = nn.Sequential(nn.BatchNorm1d(5), network())
    for treatment in ("recalibrate", "batch"):
        batches = [(INPUTS[:-1], TARGETS[:-1]), (INPUTS[-1:], TARGETS[-1:])]  # tensors would be cut otherwise
        evaluator = Evaluator(normed, {"train": batches})
        keeper = Keeper(normed, tmp_path, data=evaluator, options=ScanOptions(batchnorm=treatment))
        with pytest.raises(DataError, match="two examples to compute a variance"), keeper:
            pytest.fail("the training began")
    keeper = Keeper(normed, tmp_path, data=TEST, options=ScanOptions(batchnorm="recalibrate"))
    with pytest.raises(DataError, match="Add training data"), keeper:
        pytest.fail("the training began")
    assert not any(tmp_path.iterdir())
    with pytest.raises(DataError, match="Give them a name"):
        Evaluator(network(), DataLoader(TensorDataset(INPUTS, TARGETS)))  # type: ignore[arg-type]


def test_networks_that_cannot_be_saved_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="not initialised yet"):
        Keeper(nn.Sequential(nn.LazyLinear(3)), tmp_path / "a").__enter__()
    with pytest.raises(StateError, match="not initialised yet"):
        Keeper(nn.Sequential(nn.LazyLinear(3)), tmp_path / "b", data=TEST).__enter__()


@pytest.mark.parametrize(
    "steps", ["10", None, 1.5, 1e3, True, 0, -5, ["100"], [1.5], [-1], [True], {"all"}, (i for i in [1])]
)
def test_steps_that_no_training_reaches_are_refused(steps: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Give the number of steps between two checkpoints, or a list of steps"):
        Keeper(nn.Linear(2, 2), tmp_path / "run", steps=steps)


@pytest.mark.parametrize(
    "steps", [3, (), (2, 4), [2], {2, 3}, range(1, 100, 2), range(0, sys.maxsize, 10), np.arange(3)]
)
def test_steps_come_in_many_forms(steps: Any, tmp_path: Path) -> None:
    Keeper(nn.Linear(2, 2), tmp_path / "run", steps=steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": None}, "model is a NoneType"),
        ({"model": {"weight": 1}}, "model is a dict"),
        ({"folder": None}, "folder is a NoneType"),
        ({"folder": 3}, "folder is a int"),
        ({"folder": "n" * 300}, "File name too long"),
        ({"options": 50}, "options is a int"),
        ({"options": None}, "options is a NoneType"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LinescapeError, match=message):
        Keeper(**{"model": nn.Linear(2, 2), "folder": tmp_path / "run", **arguments})


def test_a_training_whose_start_was_not_saved_is_refused(tmp_path: Path) -> None:
    for use in (Keeper.step, lambda keeper: keeper.__exit__(None, None, None)):
        with pytest.raises(RecipeError, match="has not saved the start"):
            use(Keeper(nn.Linear(2, 2), tmp_path / "run", steps=1))
    assert not (tmp_path / "run").exists()


def test_a_line_without_a_position_between_is_refused_before_the_training(tmp_path: Path) -> None:
    for alphas in (2, [-1, 0, 1, 2]):
        with pytest.raises(AlphaError, match="no position between the two ends"):
            Keeper(nn.Linear(2, 2), tmp_path / "run", options=ScanOptions(alphas=alphas))
    assert not (tmp_path / "run").exists()
