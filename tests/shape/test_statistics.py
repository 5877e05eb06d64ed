"""Shape numbers against closed forms, brute force and each other."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import linescape.shape as shape
from linescape.errors import AlphaError
from linescape.shape import (
    LOSS_STATISTICS,
    STATISTICS,
    Bump,
    bumps,
    plateau_error,
    plateau_loss,
    summary,
)
from tests.support.curves import GRID, Array, curves, grids

THIRDS = np.array([0, 1 / 3, 2 / 3, 1])


# -- closed forms ------------------------------------------------------------------------------------------------


def test_the_barriers_disagree_on_one_curve() -> None:
    losses = [2, 1, 3, 0.5]
    assert shape.min_delta(THIRDS, losses) == 2
    assert shape.barrier_above_chord(THIRDS, losses) == pytest.approx(2)
    assert shape.barrier_above_mean(THIRDS, losses) == 1.75
    assert shape.barrier_above_max_end(THIRDS, losses) == 1
    assert shape.interior_peak(THIRDS, losses) == 1
    assert shape.hump(THIRDS, losses) == 2
    assert shape.tail_rise(THIRDS, losses) == 0
    assert shape.peak(THIRDS, losses) == shape.position_of_max(THIRDS, losses) == 2 / 3
    assert bumps(THIRDS, losses) == bumps(THIRDS, losses, published=True) == [Bump(1 / 3, 1 - 1 / 3, 2.0)]


def test_bumps_with_and_without_the_published_last_interval() -> None:
    quarters = [0, 0.25, 0.5, 0.75, 1]
    assert bumps(quarters, [4, 3, 2, 1, 1.5], published=True) == []
    assert bumps(quarters, [4, 3, 2, 1, 1.5]) == [Bump(0.75, 0.25, 0.5)]
    assert shape.min_delta(quarters, [4, 3, 2, 1, 1.5]) == 0.5
    for published in (False, True):
        assert bumps(quarters, [4, 3, 2, 2.5, 3], published=published) == [Bump(0.5, 0.5, 1.0)]
        # A return to the height of the start ends nothing: only strictly below does.
        assert bumps(quarters, [2, 3, 2, 4, 1], published=published) == [Bump(0.0, 1.0, 2.0)]
        assert bumps(quarters, [2, 3, 1, 1.5, 0], published=published) == [Bump(0.0, 0.5, 1.0), Bump(0.5, 0.5, 0.5)]


@pytest.mark.parametrize("power", [1, 2, 3, 8])
def test_a_falling_power_is_monotone_and_convex(power: int) -> None:
    """A quadratic loss along the line to its minimum is (1 - alpha)^2 L(0)."""
    numbers = summary(GRID, 3 * (1 - GRID) ** power)
    for name in ("barrier_above_chord", "barrier_above_max_end", "min_delta", "hump", "tail_rise", "position_of_max"):
        assert numbers[name] == pytest.approx(0, abs=1e-15), name
    for name in ("monotone_fraction", "convexity", "fraction_below_chord"):
        assert numbers[name] == 1, name
    assert numbers["barrier_above_mean"] == 1.5  # the mean barrier of a monotone curve
    assert numbers["interior_peak"] == pytest.approx(3 * (1 - 1 / 49) ** power - 3)
    assert numbers["area"] == pytest.approx(3 / (power + 1), abs=3 * power / 12 / 49**2 + 1e-12)
    assert numbers["peak"] == GRID[1]


def test_a_rising_power_is_all_tail() -> None:
    numbers = summary(GRID, GRID**3)
    assert numbers["min_delta"] == numbers["tail_rise"] == 1
    assert numbers["hump"] == numbers["monotone_fraction"] == 0
    assert numbers["position_of_max"] == 1
    assert numbers["peak"] == GRID[-2]


def test_a_concave_parabola() -> None:
    alphas = np.linspace(0, 1, 21)
    numbers = summary(alphas, 1 + 4 * alphas * (1 - alphas))
    for name in ("barrier_above_chord", "barrier_above_mean", "barrier_above_max_end", "interior_peak", "hump"):
        assert numbers[name] == pytest.approx(1), name
    assert numbers["convexity"] == numbers["fraction_below_chord"] == 0
    assert numbers["monotone_fraction"] == 0.5
    assert numbers["peak"] == numbers["position_of_max"] == 0.5


def test_convexity_counts_on_unequal_grids() -> None:
    alphas = np.array([0, 0.1, 0.5, 0.6, 1])
    assert shape.convexity(alphas, np.exp(alphas)) == 1
    assert shape.convexity(alphas, -np.exp(alphas)) == 0
    assert shape.convexity(alphas, 0.1 + 0.7 * alphas) == 1
    assert shape.convexity(alphas, [0, 1, 0, 1, 0]) == pytest.approx(1 / 3)
    # Convex although its second difference without the spacings, 1 - 2 * 0.4 + 0.1, would be the wrong test below.
    assert shape.convexity([0, 0.1, 1], [0.0, 0.05, 1.0]) == 1
    assert shape.convexity([0, 0.1, 1], [0.0, 0.15, 1.0]) == 0


def test_hump_and_tail_are_told_apart() -> None:
    fifths = np.linspace(0, 1, 6)
    overshoot = [2, 1, 0.3, 0.31, 0.305, 0.35]
    assert shape.tail_rise(fifths, overshoot) == shape.min_delta(fifths, overshoot) == pytest.approx(0.05)
    assert shape.hump(fifths, overshoot) == pytest.approx(0.005)  # the dent in the tail, not the tail
    both = [2, 1, 2.5, 0.3, 0.4, 0.5]
    assert (shape.hump(fifths, both), shape.tail_rise(fifths, both)) == pytest.approx((1.5, 0.2))
    assert shape.min_delta(fifths, both) == 1.5
    half_given_back = [0.5, 3, 1]  # two trained networks: the hump is what lies above the worse one
    assert shape.hump([0, 0.5, 1], half_given_back) == 2
    assert shape.tail_rise([0, 0.5, 1], half_given_back) == 0.5
    assert shape.min_delta([0, 0.5, 1], half_given_back) == 2.5


def test_peak_is_the_top_of_the_highest_hump_not_the_highest_point() -> None:
    quarters = [0, 0.25, 0.5, 0.75, 1]
    assert shape.peak(quarters, [9, 1, 2, 0, 5]) == 0.5
    assert shape.position_of_max(quarters, [9, 1, 2, 0, 5]) == 0
    assert shape.peak(quarters, [0, 5, 4, 5, 0]) == 0.25  # the first of equals


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_plateau_grows_with_depth(depth: int) -> None:
    """A bias-free chain of `depth` layers from 0: outputs alpha^depth; here its plateau in closed form."""
    alphas = np.linspace(0, 1, 2001)
    chance, tolerance = math.log(10), 0.1
    losses = chance * (1 - alphas**depth)
    expected = (tolerance / chance) ** (1 / depth)
    assert plateau_loss(alphas, losses, chance, tolerance) == pytest.approx(expected, abs=1e-4)
    assert plateau_error(alphas, 90 * (1 - alphas**depth), 90, 0.05) == pytest.approx(0.05 ** (1 / depth), abs=1e-4)


def test_plateau_is_the_longest_stretch_of_the_straight_pieces() -> None:
    fifths = np.linspace(0, 1, 6)
    assert plateau_loss(fifths, [3, 2.3, 2.3, 0, 2.3, 2.3], 2.3, 0.1) == pytest.approx(
        0.2 * (0.1 / 0.7 + 1 + 0.1 / 2.3)
    )
    assert plateau_loss(fifths, [2.3] * 6, 2.3, 0.0) == pytest.approx(1)
    assert plateau_loss(fifths, [1] * 6, 2.3, 0.1) == 0
    assert plateau_loss([0, 1], [3.3, 1.3], 2.3, 0.1) == pytest.approx(0.1)  # it only crosses
    assert plateau_error(fifths, [95, 90, 90, 80, 10, 5], 90, 0.0) == pytest.approx(0.4)
    assert plateau_loss(fifths, [np.inf, 2.3, 2.3, np.inf, 2.3, 2], 2.3, 0.1) == pytest.approx(0.2)


def test_summary_has_plateaus_only_when_chance_is_known() -> None:
    losses, errors = np.full(3, math.log(10)), np.full(3, 90.0)
    alphas = [0, 0.5, 1]
    assert set(summary(alphas, losses)) == set(summary(alphas, losses, errors)) == set(STATISTICS)
    with_classes = summary(alphas, losses, errors, classes=10)
    assert with_classes["plateau_loss"] == with_classes["plateau_error"] == 1
    assert set(with_classes) == {*STATISTICS, "plateau_loss", "plateau_error"}
    assert all(type(number) is float for number in with_classes.values())
    assert "plateau_error" not in summary(alphas, losses, classes=10)


# -- properties --------------------------------------------------------------------------------------------------


@given(curves())
def test_min_delta_is_the_largest_of_all_pairs(curve: tuple[Array, Array]) -> None:
    alphas, losses = curve
    pairs = [losses[k] - losses[j] for j in range(len(losses)) for k in range(j, len(losses))]
    assert shape.min_delta(alphas, losses) == max(pairs)


@given(curves())
def test_hump_is_the_largest_of_all_triples(curve: tuple[Array, Array]) -> None:
    alphas, losses = curve
    n = len(losses)
    heights = {
        b: max(min(losses[b] - losses[a], losses[b] - losses[c]) for a in range(b + 1) for c in range(b, n))
        for b in range(n)
    }
    assert shape.hump(alphas, losses) == max(heights.values())
    if max(heights.values()) > 0:
        assert shape.peak(alphas, losses) == alphas[max(heights, key=lambda b: heights[b])]


@given(curves())
def test_min_delta_lies_between_hump_and_tail_rise(curve: tuple[Array, Array]) -> None:
    alphas, losses = curve
    delta, hump, tail = (LOSS_STATISTICS[name](alphas, losses) for name in ("min_delta", "hump", "tail_rise"))
    assert max(hump, tail) <= delta <= hump + tail
    rise = losses - np.minimum.accumulate(losses)
    top = int(np.argmax(rise))
    if np.argmin(losses) >= top or rise[-1] == delta:
        assert delta == max(hump, tail)


@given(curves())
def test_bumps_are_the_rises(curve: tuple[Array, Array]) -> None:
    alphas, losses = curve
    found = bumps(alphas, losses)
    assert max((bump.height for bump in found), default=0.0) == shape.min_delta(alphas, losses)
    assert all(bump.width > 0 and bump.height > 0 for bump in found)
    assert all(left.start + left.width <= right.start + 1e-12 for left, right in pairwise(found))
    assert (not found) == (shape.monotone_fraction(alphas, losses) == 1)
    published = bumps(alphas, losses, published=True)
    assert published == [bump for bump in found if bump.start != alphas[-2]]


@given(curves())
def test_reversal(curve: tuple[Array, Array]) -> None:
    alphas, losses = curve
    for name in ("barrier_above_chord", "barrier_above_mean", "barrier_above_max_end", "hump", "area", "convexity"):
        assert STATISTICS[name](1 - alphas[::-1], losses[::-1]) == pytest.approx(STATISTICS[name](alphas, losses)), name


@given(curves(), st.integers(-80, 80), st.sampled_from([0.25, 2.0, 8.0]))
def test_affine_losses(curve: tuple[Array, Array], shift: int, scale: float) -> None:
    alphas, losses = curve
    before, after = summary(alphas, losses), summary(alphas, scale * losses + shift / 8)
    for name in STATISTICS:
        expected = before[name] * (scale if name in LOSS_STATISTICS else 1) + (shift / 8 if name == "area" else 0)
        if name != "fraction_below_chord":  # a point on the chord moves to either side by rounding, tested elsewhere
            assert after[name] == pytest.approx(expected, abs=1e-12), name


@given(curves())
def test_order_of_the_barriers(curve: tuple[Array, Array]) -> None:
    alphas, losses = curve
    numbers = summary(alphas, losses)
    assert 0 <= numbers["barrier_above_max_end"] <= numbers["barrier_above_mean"]
    assert numbers["barrier_above_max_end"] <= numbers["barrier_above_chord"] + 1e-12
    assert numbers["barrier_above_max_end"] <= numbers["hump"]
    assert numbers["interior_peak"] <= numbers["min_delta"]
    assert (numbers["barrier_above_chord"] > 1e-12) == (numbers["fraction_below_chord"] < 1)


@given(st.data())
def test_many_curves_are_a_loop_over_curves(data: st.DataObject) -> None:
    alphas = data.draw(grids())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    losses = rng.integers(0, 5, (2, 3, alphas.size)) / 2
    losses = np.where(rng.random(losses.shape) < 0.05, rng.choice([np.nan, np.inf]), losses)
    functions: dict[str, Callable[..., Any]] = {
        **STATISTICS,
        "plateau_loss": lambda a, curve: plateau_loss(a, curve, 1.0, 0.2),
        "plateau_error": lambda a, curve: plateau_error(a, curve, 1.0, 0.2),
    }
    for name, function in functions.items():
        many = function(alphas, losses)
        assert many.shape == (2, 3)
        for place in np.ndindex(2, 3):
            one = function(alphas, losses[place])
            assert type(one) is float
            assert many[place] == pytest.approx(one, rel=1e-12, nan_ok=True), name


@given(curves(), st.lists(st.integers(101, 210), unique=True, max_size=4))
def test_points_beyond_the_ends_do_not_count(curve: tuple[Array, Array], beyond: list[int]) -> None:
    alphas, losses = curve
    outside = np.sort(np.array(beyond)) / 100
    longer = np.concatenate([[-0.5], alphas, outside])
    extended = np.concatenate([[-99], losses, np.full(outside.size, 99)])
    assert summary(longer, extended, extended, classes=2) == summary(alphas, losses, losses, classes=2)
    assert bumps(longer, extended) == bumps(alphas, losses)


# -- NaN, infinity, errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(4))
def test_nan_stays(place: int) -> None:
    losses = np.array([2, 1, 3, 0.5])
    losses[place] = np.nan
    assert all(math.isnan(number) for number in summary(THIRDS, losses, losses, classes=10).values())
    assert math.isnan(max(bump.height for bump in bumps(THIRDS, losses)))


def test_infinity_inside_is_an_infinite_barrier() -> None:
    losses = [2, 1, np.inf, 0.5]
    numbers = summary(THIRDS, losses)
    for name in LOSS_STATISTICS:
        assert numbers[name] == (0 if name == "tail_rise" else math.inf), name
    assert numbers["peak"] == numbers["position_of_max"] == 2 / 3
    assert bumps(THIRDS, losses) == [Bump(1 / 3, 1 - 1 / 3, math.inf)]


def test_infinity_at_the_start_is_not_a_rise() -> None:
    numbers = summary(THIRDS, [np.inf, 1, 2, 1.5])
    assert numbers["min_delta"] == numbers["hump"] + numbers["tail_rise"] == 1
    assert numbers["interior_peak"] == -math.inf
    assert numbers["area"] == math.inf
    for name in ("barrier_above_chord", "barrier_above_mean", "barrier_above_max_end", "fraction_below_chord"):
        assert math.isnan(numbers[name]), name
    assert summary(THIRDS, [np.inf] * 4)["min_delta"] == 0


def test_two_points_have_ends_but_no_inside() -> None:
    assert shape.barrier_above_chord([0, 1], [2, 1]) == 0
    assert shape.barrier_above_mean([0, 1], [2, 1]) == 0.5
    assert shape.min_delta([0, 1], [1, 2]) == 1
    assert shape.area([0, 1], [1, 2]) == 1.5
    for function in (shape.interior_peak, shape.convexity, shape.fraction_below_chord, shape.peak):
        with pytest.raises(AlphaError, match="at least three"):
            function([0, 1], [1, 2])


@pytest.mark.parametrize(
    ("alphas", "losses", "message"),
    [
        ([0], [1], "lack 0 or 1"),
        ([], [], "lack 0 or 1"),
        ([0.1, 1], [1, 2], "run from 0.1 to 1"),
        ([0, 0.9], [1, 2], "lack 0 or 1"),
        ([0, 1, 0.5], [1, 2, 3], "Sort them"),
        ([0, 0.5, 0.5, 1], [1, 2, 3, 4], "Sort them"),
        ([0, np.nan, 1], [1, 2, 3], "Sort them"),
        ([0, 0.5, 1], [1, 2], "do not fit"),
        ([0, 0.5, 1], 1.0, "do not fit"),
        ([[0, 1]], [[1, 2]], "do not fit"),
    ],
)
def test_bad_alphas(alphas: Any, losses: Any, message: str) -> None:
    functions: list[Callable[..., Any]] = [*STATISTICS.values(), bumps, summary]
    functions += [lambda a, b: plateau_loss(a, b, 1), lambda a, b: plateau_error(a, b, 1)]
    for function in functions:
        # A summary says first that it takes one curve.
        with pytest.raises(AlphaError, match=f"{message}|not one curve" if function is summary else message):
            function(alphas, losses)


def test_lists_of_bumps_and_summaries_are_of_one_curve() -> None:
    with pytest.raises(AlphaError, match="one curve"):
        bumps([0, 0.5, 1], np.zeros((2, 3)))
    with pytest.raises(AlphaError, match="one curve"):
        summary([0, 0.5, 1], np.zeros(3), np.zeros((2, 3)))


def test_every_public_function_says_what_it_does() -> None:
    for name in shape.__all__:
        assert inspect.getdoc(getattr(shape, name)), name
