"""Permutation tests against brute force and scipy, and what follows from counting."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from benchmarks.intervals_of_barriers import over_examples, over_runs
from numpy.typing import NDArray
from scipy import stats

from linescape.analysis import inference, permutation

Array = NDArray[np.float64]


def drawn(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < 0.4, 0.0, rng.lognormal(size=count))


@pytest.mark.parametrize("seed", range(4))
def test_p_values_are_scipys(seed: int) -> None:
    x, y = drawn(5, seed), drawn(6, seed + 100) + 0.5

    def apart(a: Array, b: Array, axis: int) -> Array:
        return np.asarray(a.mean(axis=axis) - b.mean(axis=axis))

    between = stats.permutation_test((x, y), lambda a, b, axis: abs(apart(a, b, axis)), alternative="greater")
    assert inference.permutation_p_value(x, y) == pytest.approx(between.pvalue)
    pairs = stats.permutation_test(
        (x[:5] - y[:5],), lambda d, axis: abs(d.mean(axis=axis)), permutation_type="samples", alternative="greater"
    )
    assert inference.paired_p_value(x[:5], y[:5]) == pytest.approx(pairs.pvalue)


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_holds_the_shifts_that_the_test_does_not_reject(seed: int) -> None:
    x, y = drawn(6, seed), drawn(5, seed + 50)
    found = permutation.permutation_difference(x, y)
    pairs = inference.paired_difference(x, np.resize(y, 6))
    step = 1e-6
    for end, outwards in ((found.low, -step), (found.high, step)):
        assert inference.permutation_p_value(x - (end + outwards), y) <= 0.05
        assert inference.permutation_p_value(x - (end - outwards), y) > 0.05
    for end, outwards in ((pairs.low, -step), (pairs.high, step)):
        assert inference.paired_p_value(x - (end + outwards), np.resize(y, 6)) <= 0.05
        assert inference.paired_p_value(x - (end - outwards), np.resize(y, 6)) > 0.05


def exact_p_value(x: list[int], y: list[int]) -> float:
    """By counting in whole numbers; without `y` of pairs whose differences are `x`."""
    if not y:
        sums = [
            abs(sum(sign * d for sign, d in zip(signs, x, strict=True))) for signs in product((1, -1), repeat=len(x))
        ]
        return sum(one >= abs(sum(x)) for one in sums) / len(sums)
    both, n, m = x + y, len(x), len(y)
    apart = [abs((n + m) * sum(chosen) - n * sum(both)) for chosen in combinations(both, n)]  # times n m
    return sum(one >= apart[0] for one in apart) / len(apart)


@pytest.mark.parametrize("paired", [False, True])
def test_values_that_are_equal_are_never_told_apart_by_rounding(paired: bool) -> None:
    """Barriers are often 0, and errors have few values: then many assignments are exactly as far apart."""
    rng = np.random.default_rng(1)
    told = asked = 0
    for _ in range(120):
        n, m = (rng.integers(6, 8), 0) if paired else rng.integers([4, 3], 6)
        x, y = rng.integers(-1 if paired else 0, 4 if paired else 5, n), rng.integers(0, 3, m)
        found = (
            inference.paired_difference(0.1 * x, np.zeros(n))
            if paired
            else permutation.permutation_difference(0.1 * x, 0.1 * y)
        )
        if not math.isnan(found.low):
            rejected = exact_p_value(x.tolist(), y.tolist()) <= 0.05
            assert (found.low > 0 or found.high < 0) == rejected, (x, y)
            told, asked = told + rejected, asked + 1
    assert asked > 80
    assert told > 2


def test_an_interval_does_not_depend_on_the_unit() -> None:
    x, y = drawn(5, 3), drawn(6, 4)
    usual, tiny = inference.permutation_difference(x, y), inference.permutation_difference(1e-12 * x, 1e-12 * y)
    assert (1e12 * tiny.low, 1e12 * tiny.high) == pytest.approx((usual.low, usual.high))
    assert inference.permutation_p_value(1e-12 * x, 1e-12 * y) == inference.permutation_p_value(x, y)


def test_unequal_numbers_of_runs_that_vary_unequally_are_seldom_told_apart() -> None:
    """The same mean, but one arm is 0 in half of its runs and the other nearly constant."""
    rng = np.random.default_rng(0)
    told = alone = 0
    for _ in range(120):
        x = np.where(rng.random(5) < 0.5, 0.0, 0.6) * rng.uniform(0.9, 1.1, 5)
        y = 0.3 + 0.01 * rng.standard_normal(12)
        found, test = (of.permutation_difference(x, y) for of in (inference, permutation))
        assert found.low <= test.low <= test.high <= found.high
        told, alone = told + (found.low > 0 or found.high < 0), alone + (test.low > 0 or test.high < 0)
    assert alone >= 15
    assert told <= 12
    assert inference.permutation_difference(y[:5], x) == permutation.permutation_difference(y[:5], x)


def test_too_few_runs_have_no_interval_whatever_their_values() -> None:
    assert math.isnan(inference.permutation_difference([9.0, 9.1, 9.2], [0.0, 0.1, 0.2]).low)
    assert inference.permutation_difference([9.0, 9.1, 9.2, 9.3], [0.0, 0.1, 0.2, 0.3]).low > 0
    assert math.isnan(inference.paired_difference(np.arange(5) + 9.0, np.zeros(5)).low)
    assert inference.paired_difference(np.arange(6) + 9.0, np.zeros(6)).low > 0
    assert inference.permutation_p_value([9.0, 9.1, 9.2], [0.0, 0.1, 0.2]) == pytest.approx(0.1)


def test_what_has_no_difference_or_no_interval() -> None:
    assert math.isnan(inference.permutation_difference([], [1.0]).value)
    assert math.isnan(inference.paired_difference([], []).value)
    assert inference.permutation_difference([0.0] * 5, [0.0] * 5).value == 0.0
    assert math.isnan(inference.permutation_difference([0.0] * 5, [0.0] * 5).low)
    assert math.isnan(inference.permutation_difference([math.inf] * 5, [0.0] * 5).low)
    assert math.isnan(inference.permutation_p_value([math.nan] * 5, [0.0] * 5))
    with pytest.raises(ValueError, match="5 and 4 values cannot be paired"):
        inference.paired_difference([0.0] * 5, [0.0] * 4)


def test_many_runs_are_drawn_from_and_come_close() -> None:
    x, y = drawn(15, 1) + 1.0, drawn(15, 2)
    found, usual = inference.permutation_difference(x, y), inference.difference(x, y)
    assert found == inference.permutation_difference(x, y)
    assert (found.low, found.high) == pytest.approx((usual.low, usual.high), abs=0.25)


@pytest.mark.parametrize(("count", "paired"), [(4, False), (6, False), (6, True)])
def test_arms_that_are_alike_seldom_seem_different(count: int, paired: bool) -> None:
    _, held, told = over_runs(count, 1.0, paired, studies=300)
    assert told <= 0.08
    assert held >= 0.92


@pytest.mark.parametrize("kind", ["kind", "zeros"])
@pytest.mark.parametrize("curve", ["bump of 0.03 on a low plateau", "flat"])
def test_intervals_over_examples_hold_small_bumps_and_plateaus(kind: str, curve: str) -> None:
    from benchmarks.intervals_of_barriers import CURVES

    held = over_examples(kind, CURVES[curve], samples=100)
    del held["area"]  # a mean: see the docstring of shape.intervals
    assert min(held.values()) >= 0.88, held  # 95 % less three standard errors


@pytest.mark.parametrize("values", [[math.inf, 1.0], [math.inf, -math.inf], [math.inf, math.nan]])
def test_infinite_pairs_have_no_interval_and_raise_no_warning(values: list[float]) -> None:
    for baseline in ([math.inf, 0.0], [0.0, 0.0]):
        found = inference.paired_difference(values, baseline)
        assert not math.isfinite(found.value)
        assert math.isnan(found.low)
        assert math.isnan(inference.paired_p_value(values, baseline))
