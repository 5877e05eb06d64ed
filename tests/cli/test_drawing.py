"""Curves drawn with characters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linescape.cli.drawing import drawn

ALPHAS = np.linspace(0, 1, 11)


@pytest.mark.parametrize("braille", [True, False])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_curve_fits_the_terminal_and_has_its_top_where_it_is(width: int, braille: bool) -> None:
    lines = drawn(ALPHAS, 1 + 2 * np.exp(-(((ALPHAS - 0.5) / 0.2) ** 2)), "test loss", width, braille).splitlines()
    assert lines[0] == "test loss"
    assert max(map(len, lines)) <= min(width, 80)
    assert lines[1].startswith("3 |")
    assert lines[-2].startswith("0 |")
    top = [index for index, mark in enumerate(lines[1][3:]) if mark not in "\u2800 "]
    assert np.mean(top) / (len(lines[-1]) - 3) == pytest.approx(0.5, abs=0.05)


def test_stars_stand_where_values_are() -> None:
    lines = drawn(np.array([0.0, 1.0]), np.array([7.0, 0.0]), "falling", 11, braille=False).splitlines()
    assert [line[3:].index("*") for line in lines[1:9]] == sorted(line[3:].index("*") for line in lines[1:9])
    assert lines[1][3] == "*"
    assert lines[8][-1] == "*"


def test_what_is_not_finite_is_a_gap() -> None:
    means = np.ones(11)
    means[3:6] = math.nan
    means[5] = math.inf
    top = drawn(ALPHAS, means, "loss", 60, braille=False).splitlines()[1]
    assert "*" in top[:20]
    assert "*" in top[-20:]
    assert "*" not in top[25:32]
    assert drawn(ALPHAS, np.full(11, math.nan), "loss", 60, braille=False) == "loss: nowhere finite"


def test_a_curve_of_zeros_and_one_below_zero_are_drawn() -> None:
    assert "0 |" in drawn(ALPHAS, np.zeros(11), "error", 60, braille=True)
    assert drawn(ALPHAS, -ALPHAS, "loss", 60, braille=True).splitlines()[-2].startswith("-1 |")
