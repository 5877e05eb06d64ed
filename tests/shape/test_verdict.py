"""Verdicts on lines whose true curve is known, and how often they are wrong over many samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from linescape.errors import AlphaError
from linescape.shape import Estimate, barrier_above_chord, hump
from linescape.shape.verdict import FEWEST_EXAMPLES, HEIGHTS, LEAST_EXAMPLES, gain, judge
from tests.support.curves import Array, curves
from tests.support.verdicts import ALPHAS, KINDS, bump, false_alarms, missed, of_the_overconfident, without


def sample(curve: Array, examples: int = 600, spread: float = 0.02, seed: int = 0) -> Array:
    """Losses whose examples differ by a shift and a little noise."""
    rng = np.random.default_rng(seed)
    return curve[:, None] + rng.normal(0, 1, examples) + spread * rng.normal(0, 1, (curve.size, examples))


@pytest.mark.parametrize(
    ("curve", "kind"),
    [
        (0.4 + bump(0.5, 0.2, 1.4), "barrier"),
        (2.3 - 1.9 * ALPHAS + bump(0.1, 0.05, 0.9), "barrier"),  # near the start
        (0.3 + 2 * (1 - ALPHAS) ** 3 + bump(0.7, 0.08, 1.2), "barrier"),  # far below the start
        (0.4 + bump(0.5, 0.2, 0.03), "small rise"),
        *((curve, "no barrier") for curve in without().values()),
        (2.5 - 2 * ALPHAS + 3 * (ALPHAS - 0.9).clip(0), "no barrier"),  # a high tail
        (0.3 + 2 * ALPHAS**0.2, "no barrier"),  # rises early to the worse end
    ],
)
def test_the_verdict_on_lines_that_are_known_well(curve: Array, kind: str) -> None:
    assert judge(ALPHAS, sample(curve), 0.05).kind == kind
    assert judge(1 - ALPHAS[::-1], sample(curve)[::-1], 0.05).kind == kind  # whichever end comes first


@settings(max_examples=200)
@given(curves())
def test_the_height_above_the_chord_exceeds_the_hump_by_no_more_than_the_ends_differ(
    curve: tuple[Array, Array],
) -> None:
    alphas, losses = curve
    difference = abs(losses[-1] - losses[0])
    assert barrier_above_chord(alphas, losses) <= hump(alphas, losses) + difference + 1e-12


@settings(max_examples=200)
@given(*[st.floats(-0.2, 0.4)] * 3, st.integers(2, 5000))
def test_a_verdict_says_no_more_than_its_interval(value: float, low: float, high: float, examples: int) -> None:
    low, value, high = sorted((low, value, high))
    known = dict.fromkeys(HEIGHTS, Estimate(value, low, high, 0.95))
    found = judge([0, 0.5, 1], np.zeros((3, examples)), 0.05, 1.0, known)
    assert found.at_most >= high
    if found.kind == "barrier":
        assert low > 0
        assert value >= 0.05
        assert examples >= FEWEST_EXAMPLES
    if found.kind in ("no barrier", "small rise"):
        assert found.at_most <= 0.05
        assert examples >= LEAST_EXAMPLES
        assert (low > 0) == (found.kind == "small rise")
    assert (found.more_examples is None) or found.kind == "inconclusive"


@pytest.mark.parametrize("examples", [30, 200, 1000])
def test_what_a_sample_can_miss_is_added_to_the_interval(examples: int) -> None:
    found = judge([0, 0.5, 1], np.zeros((3, examples)), 1.0, 100.0)
    assert stats.binom.pmf(0, examples, found.at_most / 100) == pytest.approx(0.025)
    assert (found.kind == "no barrier") == (examples == 1000)  # 3.7 of 1,000
    found = judge([0, 0.5, 1], np.zeros((3, examples)), 0.05)
    assert (found.kind == "no barrier") == (examples >= LEAST_EXAMPLES)


def test_few_examples_that_fall_far_keep_a_rise_of_many_from_being_told() -> None:
    """Of 100 examples 98 rise and two fall far: another sample may have six of these, and then nothing rises."""
    rises = np.concatenate([np.full(98, 0.3), np.full(2, -5.0)])
    curve = 4 * ALPHAS * (1 - ALPHAS)
    found = judge(ALPHAS, 6 + curve[:, None] * rises, 0.05)
    assert found.height.low > 0
    assert found.largest_fall == pytest.approx(5)
    assert found.at_least == pytest.approx(found.height.low - (1 - 0.025**0.01) * 5)
    assert found.kind == "inconclusive"
    assert found.more_examples is not None
    assert judge(ALPHAS, 6 + curve[:, None] * np.tile(rises, 20), 0.05).kind == "barrier"
    alike = judge(ALPHAS, 6 + curve[:, None] * np.full(100, 0.3), 0.05)
    assert (alike.kind, alike.largest_fall, alike.at_least) == ("barrier", 0.0, alike.height.low)


@pytest.mark.parametrize("examples", [2, 3, 5, 6, 10])
def test_so_few_that_all_may_rise_by_chance_show_no_barrier(examples: int) -> None:
    rng = np.random.default_rng(examples)
    values = 6 + (4 * ALPHAS * (1 - ALPHAS))[:, None] * rng.uniform(1, 1.5, examples)
    found = judge(ALPHAS, values, 0.05)
    assert found.height.low > 0
    assert (found.kind == "barrier") == (examples >= FEWEST_EXAMPLES)
    assert stats.binom.pmf(FEWEST_EXAMPLES, FEWEST_EXAMPLES, 0.5) < 0.025 < 0.5 ** (FEWEST_EXAMPLES - 1)


@pytest.mark.parametrize(("mean", "sharpness"), [(1.5, 8.0), (2.0, 20.0)])
def test_networks_that_are_sure_of_themselves_seldom_seem_to_have_a_barrier(mean: float, sharpness: float) -> None:
    counted = of_the_overconfident(mean, sharpness, 500, 100)
    assert counted["told"] >= 3  # of 100 intervals, of which 2.5 are meant to be above 0
    assert counted["barrier"] <= 3


def test_where_everything_is() -> None:
    curve = 0.3 + 2 * (1 - ALPHAS) ** 3 + bump(0.7, 0.08, 1.2)
    found = judge(ALPHAS, np.tile(curve[:, None], 300), 0.05)
    at = {name: place.alpha for name, place in found.places.items()}
    assert (at["start"], at["end"], at["middle"], at["lowest"]) == (0, 1, 0.5, 1)
    assert at["top"] == pytest.approx(0.7)
    assert at["before"] == pytest.approx(0.55)
    assert at["after"] == 1
    assert found.height.value == pytest.approx(found.places["top"].value - found.places["before"].value)
    assert (found.positions, found.examples, found.not_finite) == (21, 300, 0)
    assert found.widest_gap == pytest.approx(0.05)
    assert found.beside_middle is None
    assert found.middle_is_known


def test_the_positions_beside_a_middle_that_was_not_measured() -> None:
    for alphas, beside, known in (
        ([0, 0.1, 1], (0.1, 1.0), False),
        ([0, 0.45, 0.55, 1], (0.45, 0.55), True),
        ([-1, 0, 0.3, 0.5 + 1e-9, 1, 2], None, True),
    ):
        found = judge(alphas, np.zeros((len(alphas), 300)), 0.05)
        assert found.beside_middle == beside
        assert found.middle_is_known == known


def test_positions_beyond_the_networks_do_not_count() -> None:
    alphas, values = np.linspace(-0.5, 1.5, 41), np.full((41, 300), 0.5)
    values[[0, -1]] = 9.0
    found = judge(alphas, values, 0.05)
    assert found.kind == "no barrier"
    assert found.positions == 21


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_verdict(odd: float) -> None:
    values = sample(0.4 + bump(0.5, 0.2, 1.0))
    values[8:11, 3] = odd
    values[10, 7] = odd
    found = judge(ALPHAS, values, 0.05)
    assert found.kind == "undefined"
    assert found.not_finite == 2
    assert found.where_not_finite == pytest.approx((0.4, 0.5))


def test_one_example_has_no_interval() -> None:
    found = judge(ALPHAS, sample(0.4 + bump(0.5, 0.2, 1.0), 1), 0.05)
    assert found.kind == "inconclusive"
    assert found.more_examples is None
    assert math.isnan(found.height.low)
    assert found.height.value > 0.5
    assert math.isnan(gain(ALPHAS, sample(0.4 - bump(0.5, 0.2, 0.2), 1)).low)
    with pytest.raises(AlphaError, match="each alpha and example"):
        judge([0, 1], [1, 2], 0.05)


def test_about_so_many_more_examples_decide() -> None:
    curve = 0.4 + bump(0.5, 0.2, 0.2)
    few = judge(ALPHAS, KINDS["margins"](curve, 60, np.random.default_rng(1)), 0.05)
    assert few.kind == "inconclusive"
    assert few.more_examples is not None
    assert 15 <= few.more_examples < 600
    enough = 60 + 3 * few.more_examples  # it is a rough estimate
    assert judge(ALPHAS, KINDS["margins"](curve, enough, np.random.default_rng(2)), 0.05).kind == "barrier"


@pytest.mark.parametrize(
    ("height", "more"),
    [
        (Estimate(0.1, -0.1, 0.2, 0.95), 400 * 3.2**2 - 400),
        (Estimate(0.1, 0.0, 0.1, 0.95), 400 * 1.6**2 - 400),  # nearly told
        (Estimate(0.01, -0.1, 0.01 + 0.08, 0.95), 3 * 400),
        (Estimate(0.049999, -0.1, 0.1, 0.95), None),
        (Estimate(0.1, math.nan, math.nan, 0.95), None),
    ],
)
def test_intervals_are_taken_to_shrink_with_the_root_of_the_examples(height: Estimate, more: float | None) -> None:
    found = judge([0, 0.5, 1], np.zeros((3, 400)), 0.05, 0.0, dict.fromkeys(HEIGHTS, height))
    assert found.kind == "inconclusive"
    if more is None:
        assert found.more_examples is None or found.more_examples > 1e6
    else:
        assert found.more_examples == pytest.approx(more, abs=1)


def test_the_gain_over_both_ends() -> None:
    curve = 0.5 - bump(0.4, 0.2, 0.2) + 0.1 * ALPHAS
    found = gain(ALPHAS, sample(curve))
    assert found.value == pytest.approx(min(curve[0], curve[-1]) - curve.min(), abs=0.02)
    assert found.low > 0.15
    assert gain(ALPHAS, sample(2.3 - ALPHAS, 50)).low <= 0


def test_a_gain_is_seldom_told_on_a_flat_line() -> None:
    """The lowest of many positions lies below the ends by noise alone."""
    told = [
        gain(ALPHAS, KINDS["margins"](np.full(21, 0.4), 300, np.random.default_rng([seed, 1]))).low > 0
        for seed in range(60)
    ]
    assert np.mean(told) <= 0.05


@pytest.mark.parametrize("kind", ["margins", "error"])
def test_verdicts_are_seldom_wrong(kind: str) -> None:
    assert max(false_alarms(kind, 250, 60).values()) <= 0.05
    assert max(missed(kind, 250, 60, 0.06).values()) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("examples", [50, 200, 500, 2000])
@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_wrong_in_at_most_one_of_forty_samples(kind: str, examples: int) -> None:
    false = false_alarms(kind, examples, 400)
    just_above, twice = (missed(kind, examples, 400, height) for height in (0.051, 0.1))
    print(kind, examples, false, just_above, twice)
    allowed = stats.binom.ppf(0.999, 400, 0.025) / 400  # 2.5 % but for chance
    assert max(*false.values(), *just_above.values(), *twice.values()) <= allowed
