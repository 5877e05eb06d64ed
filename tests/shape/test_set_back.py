"""What a block set back costs, against scipy's paired test, a search for Fieller's limits, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from linescape.shape import set_back
from tests.support.curves import Array


def losses(examples: int, seed: int, costs: tuple[float, float] = (0.6, 2.0)) -> tuple[Array, Array, Array]:
    """Losses of a network set back, at its start and trained: skewed, and alike as they share the examples."""
    rng = np.random.default_rng([seed, 3])
    end = rng.lognormal(-1, 1, examples)
    return end + costs[0] * rng.gamma(2, 0.5, examples), end + costs[1] * rng.gamma(2, 0.5, examples), end


def test_what_is_lost_is_a_paired_difference() -> None:
    back, _, end = losses(57, 0)
    found, expected = set_back.lost(back, end, 0.9), stats.ttest_rel(back, end)
    interval = expected.confidence_interval(0.9)
    assert found.value == pytest.approx((back - end).mean())
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.level == 0.9


def test_the_share_is_where_a_paired_test_would_not_tell_the_ratio() -> None:
    back, start, end = losses(40, 1)
    found = set_back.share(back, start, end)
    assert found is not None
    assert found.value == pytest.approx((back - end).mean() / (start - end).mean())
    for limit in (found.low, found.high):
        p_value = stats.ttest_1samp((back - end) - limit * (start - end), 0).pvalue
        assert p_value == pytest.approx(0.05)


def test_a_share_may_exceed_the_whole_and_be_below_nothing() -> None:
    rng = np.random.default_rng(0)
    end = rng.gamma(2, 0.5, 500)
    worse = set_back.share(end + 6, end + 2 + rng.normal(0, 0.1, 500), end)
    better = set_back.share(end - 1, end + 2, end)
    assert worse is not None
    assert worse.low > 2.9
    assert better is not None
    assert (better.low, better.value, better.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_there_is_no_share_of_nothing() -> None:
    back, start, end = losses(100, 2)
    assert set_back.share(back, end, start) is None  # the end is worse
    assert set_back.share(back, end, end) is None
    assert set_back.share(back[:1], start[:1], end[:1]) is None
    assert set_back.share(np.where(np.arange(100), back, math.inf), start, end) is None


def test_one_example_and_infinite_losses_have_no_interval() -> None:
    assert math.isnan(set_back.lost([2.0], [1.0]).low)
    found = set_back.lost([math.inf, 1.0, 2.0], [1.0, 1.0, 1.0])
    assert found.value == math.inf
    assert math.isnan(found.low)


def test_intervals_cover() -> None:
    true = 0.6 / 2.0
    covered = []
    for seed in range(400):
        back, start, end = losses(60, seed)
        found, lost = set_back.share(back, start, end), set_back.lost(back, end)
        assert found is not None
        covered.append((found.low <= true <= found.high, lost.low <= 0.6 <= lost.high))
    assert np.mean(covered, axis=0) == pytest.approx([0.95, 0.95], abs=0.03)
