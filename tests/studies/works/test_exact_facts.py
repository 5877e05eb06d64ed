"""What lines of any study have exactly, whatever was trained: positions, ends and the levels of chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from linescape import studies
from linescape.analysis.tables.results import classes
from linescape.evaluation.measures import cross_entropy, error
from linescape.recipe import Data, Moment, Recipe
from linescape.studies.study import Scan


def test_fifty_positions_are_multiples_of_one_49th_with_both_ends() -> None:
    grid = Scan(Moment(Recipe(), "start"), Moment(Recipe()), alphas=50).grid
    assert grid == tuple(np.linspace(0, 1, 50))
    assert (grid[0], grid[-1]) == (0.0, 1.0)
    assert np.abs(np.array(grid) - np.arange(50) / 49).max() <= 2**-53


def test_the_source_s_whole_lines_have_fifty_positions() -> None:
    for arm in studies.find("vlaar2022", "cifar10").arms:
        assert {run.lines["whole"].alphas for run in arm.runs} == {50}


@pytest.mark.parametrize(
    ("name", "number", "chance"), [("spiral", 2, 0.6931), ("cifar10", 10, 2.3026), ("cifar100", 100, 4.6052)]
)
def test_chance_is_the_loss_of_equal_logits(name: str, number: int, chance: float) -> None:
    assert classes(Data(name)) == number
    outputs, targets = torch.full((number, number), 0.7, dtype=torch.float64), torch.arange(number)
    assert cross_entropy(outputs, targets).tolist() == pytest.approx([math.log(number)] * number, rel=1e-14)
    assert math.log(number) == pytest.approx(chance, abs=5e-5)
    assert float(error(outputs, targets).mean()) == pytest.approx(100 * (1 - 1 / number))
