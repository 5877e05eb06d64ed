"""Intervals and p-values of shape numbers against known populations and clear cases."""

from __future__ import annotations

import math
import time
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import linescape.shape as shape
from linescape.errors import AlphaError, DataError, RecipeError
from linescape.shape import LOSS_STATISTICS, STATISTICS, estimate, estimates
from tests.support.curves import GRID, Array, curves
from tests.support.populations import ALPHAS, POPULATIONS, draw


@cache
def said_to_rise() -> dict[str, float]:
    """Population -> the share of its samples with a small p-value, in one loop as in `coverage` of test_noise."""
    rises: dict[str, list[bool]] = {"flat": [], "plateau": [], "small": []}
    for seed, name in product(range(150), rises):
        values = draw(POPULATIONS[name], 800, np.random.default_rng([seed, 1]))
        rises[name].append(shape.rise_p_value(ALPHAS, values, resamples=199, seed=seed) <= 0.05)
    return {name: float(np.mean(small)) for name, small in rises.items()}


@pytest.mark.parametrize(("name", "least", "most"), [("flat", 0, 0.08), ("plateau", 0, 0.08), ("small", 0.9, 1)])
def test_rise_p_value_keeps_its_level(name: str, least: float, most: float) -> None:
    assert least <= said_to_rise()[name] <= most


def test_probability_monotone_of_clear_cases() -> None:
    rng = np.random.default_rng(0)
    falling = (1 - GRID)[:, None] * rng.lognormal(size=200)
    assert shape.probability_monotone(GRID, falling) == 1
    assert shape.rise_p_value(GRID, falling) == 1
    assert shape.probability_monotone(GRID, falling[::-1]) == 0
    assert shape.rise_p_value(GRID, falling[::-1]) < 0.01
    assert shape.probability_monotone(GRID, falling[::-1], tolerance=10) == 1
    assert shape.rise_p_value(GRID, falling[::-1], tolerance=10) == 1


@settings(max_examples=25)
@given(curves(), st.integers(2, 40))
def test_equal_examples_leave_no_doubt(curve: tuple[Array, Array], examples: int) -> None:
    alphas, losses = curve
    values = np.repeat(losses[:, None], examples, axis=1)
    for name, found in estimates(alphas, values, LOSS_STATISTICS, resamples=20).items():
        assert (found.low, found.high) == pytest.approx((found.value, found.value), abs=1e-12), name
        assert found.value == pytest.approx(LOSS_STATISTICS[name](alphas, losses), abs=1e-12), name


@pytest.mark.parametrize("examples", [7, 100, 501])
def test_a_line_along_which_nothing_changes_never_rises(examples: int) -> None:
    values = np.tile(np.random.default_rng(0).lognormal(size=examples), (53, 1))
    alphas = np.linspace(0, 1, 53)
    found = estimate(alphas, values, shape.monotone_fraction, resamples=333)
    assert (found.low, found.value, found.high) == (1, 1, 1)
    assert shape.probability_monotone(alphas, values, resamples=333) == 1


def test_examples_are_drawn_alike_at_every_alpha() -> None:
    """A curve that is the same for all examples, but for a shift of each, is known without doubt."""
    shifts = 10 * np.random.default_rng(0).standard_normal(30)
    values = np.array([0, 1, 0.5])[:, None] + shifts
    found = estimates([0, 0.5, 1], values, LOSS_STATISTICS)
    assert found["min_delta"].high - found["min_delta"].low == pytest.approx(0, abs=1e-12)
    assert found["area"].high - found["area"].low > 1


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.tile(np.random.default_rng(1).standard_normal(400), (2, 1))
    found = estimate([0, 1], values, shape.area, resamples=20_000)
    half = 1.96 * values[0].std() / 20
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)
    assert found.value == shape.area([0, 1], values.mean(axis=1))
    assert found.level == 0.95


def test_resamples_are_the_seeds() -> None:
    values = np.random.default_rng(0).lognormal(size=(50, 60))
    first = estimates(GRID, values, STATISTICS, seed=3, resamples=50)
    assert first == estimates(GRID, values, STATISTICS, seed=3, resamples=50)
    assert first["hump"] == estimate(GRID, values, shape.hump, seed=3, resamples=50)
    assert first["area"] != estimate(GRID, values, shape.area, seed=4, resamples=50)
    assert all(found.low <= found.value <= found.high for found in first.values())
    wide = estimates(GRID, values, LOSS_STATISTICS, resamples=500, level=0.99)
    narrow = estimates(GRID, values, LOSS_STATISTICS, resamples=500, level=0.5)
    assert all(wide[name].low <= narrow[name].low <= narrow[name].high <= wide[name].high for name in LOSS_STATISTICS)


def test_an_infinite_example_is_infinite_only_when_drawn() -> None:
    values = np.ones((3, 4))
    values[1, 0] = np.inf
    found = estimate([0, 0.5, 1], values, shape.min_delta)
    assert (found.value, found.low, found.high) == (math.inf, 0, math.inf)
    assert math.isnan(shape.rise_p_value([0, 0.5, 1], values))
    assert shape.probability_monotone([0, 0.5, 1], values) == pytest.approx(0.75**4, abs=0.06)
    values[1, 0] = np.nan
    found = estimate([0, 0.5, 1], values, shape.min_delta)
    assert all(map(math.isnan, (found.value, found.low, found.high)))
    assert math.isnan(shape.probability_monotone([0, 0.5, 1], values))
    assert math.isnan(shape.rise_p_value([0, 0.5, 1], values))


def test_bad_samples() -> None:
    with pytest.raises(AlphaError, match="per|each alpha and example"):
        estimates([0, 1], [1, 2], LOSS_STATISTICS)
    with pytest.raises(AlphaError, match="do not fit"):
        estimates([0, 1], np.ones((3, 5)), LOSS_STATISTICS)
    with pytest.raises(DataError, match="1 examples"):
        estimates([0, 1], [[1], [2]], LOSS_STATISTICS)
    with pytest.raises(RecipeError, match="0 resamples"):
        shape.probability_monotone([0, 1], np.ones((2, 5)), resamples=0)
    with pytest.raises(RecipeError, match="probability 95"):
        estimates([0, 1], np.ones((2, 5)), LOSS_STATISTICS, level=95)
    with pytest.raises(RecipeError, match="'largest' returned shape"):
        estimates([0, 1], np.ones((2, 5)), {"largest": lambda alphas, losses: np.max(losses)})


def test_all_numbers_of_a_real_curve_take_well_under_a_second() -> None:
    values = np.random.default_rng(0).lognormal(size=(50, 2000))
    start = time.process_time()
    estimates(GRID, values, STATISTICS, resamples=1000)
    assert time.process_time() - start < 2  # 0.2 s on one core; the rest is for busy machines
