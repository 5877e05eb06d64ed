from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score

from linescape.analysis import inference

Array = NDArray[np.float64]


def drawn(
    arms: int, runs: int, rng: np.random.Generator, between: float = 0.6, within: float = 0.0
) -> tuple[Array, Array, list[str]]:
    """Scores with arm effects correlated by `between` and runs correlated by `within`; half the variance is arms'."""
    effects = rng.multivariate_normal([0, 0], [[1, between], [between, 1]], size=arms)
    rest = rng.multivariate_normal([0, 0], [[1, within], [within, 1]], size=(arms, runs))
    both = (effects[:, None] + rest).reshape(-1, 2)
    return both[:, 0], both[:, 1], [f"arm {i // runs}" for i in range(arms * runs)]


def test_mean_is_the_t_interval() -> None:
    values = np.array([86.1, 85.2, 87.0, 86.4])
    found = inference.mean(values)
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))


@pytest.mark.parametrize("values", [[86.0], [86.0, 86.0, 86.0], [0.7, 0.1 * 7], [86.0, math.nan], [math.inf, 1.0]])
def test_mean_has_no_interval_where_spread_is_unknown(values: list[float]) -> None:
    found = inference.mean(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_an_interval_is_cut_off_where_values_are_impossible() -> None:
    found = inference.bounded(inference.mean([0.0, 40.0, 80.0]), 0.0, 100.0)
    assert (found.value, found.low, found.high) == (40.0, 0.0, 100.0)
    assert inference.bounded(inference.mean([40.0, 42.0]), 0.0, 100.0).low == inference.mean([40.0, 42.0]).low
    assert math.isnan(inference.bounded(inference.mean([40.0]), 0.0, 100.0).high)


def test_mean_of_nothing_is_nan() -> None:
    assert math.isnan(inference.mean([]).value)


def test_difference_is_welchs() -> None:
    a, b = np.array([1.0, 2.5, 2.0]), np.array([4.0, 4.1, 9.0, 5.5])
    found = inference.difference(a, b, 0.9)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(a.mean() - b.mean())


def test_difference_with_one_side_without_spread_uses_the_others() -> None:
    found = inference.difference([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, 2) / math.sqrt(3))


@pytest.mark.parametrize(
    ("a", "b"), [([0.0, 0.0], [0.0, 0.0]), ([1.0], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0]), ([], [1.0, 2.0])]
)
def test_difference_has_no_interval_of_width_zero(a: list[float], b: list[float]) -> None:
    assert math.isnan(inference.difference(a, b).low)


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_rank_correlation_is_scipys_and_ignores_the_order_of_runs(kind: inference.Kind) -> None:
    rng = np.random.default_rng(0)
    x, y, arms = drawn(6, 3, rng)
    x = np.maximum(x, 0)  # ties, as in numbers that are often zero
    function = stats.spearmanr if kind == "spearman" else stats.kendalltau
    found = inference.rank_correlation(x, y, arms, kind)
    assert found.value == pytest.approx(function(x, y).statistic)
    assert -1 < found.low < found.value < found.high < 1
    order = rng.permutation(len(x))
    again = inference.rank_correlation(x[order], y[order], [arms[i] for i in order], kind)
    assert (again.low, again.high) == pytest.approx((found.low, found.high))


def test_copies_of_runs_do_not_make_a_correlation_surer() -> None:
    x, y, arms = drawn(6, 1, np.random.default_rng(1))
    once = inference.rank_correlation(x, y, arms)
    often = inference.rank_correlation(np.repeat(x, 10), np.repeat(y, 10), np.repeat(arms, 10).tolist())
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high), abs=0.02)


def test_a_correlation_is_undefined_without_variation_and_has_no_interval_from_three_arms() -> None:
    x, y, arms = drawn(3, 4, np.random.default_rng(2))
    assert math.isnan(inference.rank_correlation(np.zeros(12), y, arms).value)
    assert math.isfinite(inference.rank_correlation(x, y, arms).value)
    assert math.isnan(inference.rank_correlation(x, y, arms).low)
    x[0] = math.nan
    assert math.isfinite(inference.rank_correlation(x, y, arms).value)


def brute_within(x: Array, y: Array, arms: list[str]) -> float:
    """Kendall's tau-b over pairs of runs of one arm, by loops."""
    total = ties_x = ties_y = 0.0
    for i, j in combinations(range(len(x)), 2):
        if arms[i] == arms[j]:
            a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
            total, ties_x, ties_y = total + a * b, ties_x + a * a, ties_y + b * b
    return float(total / math.sqrt(ties_x * ties_y))


def test_within_arms_is_brute_force_over_pairs_of_one_arm() -> None:
    x, y, arms = drawn(5, 4, np.random.default_rng(3), within=0.7)
    assert inference.within_arms(x, y, arms, "kendall").value == pytest.approx(brute_within(x, y, arms))


@pytest.mark.parametrize("kind", ["spearman", "kendall"])
def test_differences_between_arms_cannot_make_a_correlation_within(kind: inference.Kind) -> None:
    rng = np.random.default_rng(4)
    x, y, arms = drawn(6, 4, rng, within=-0.9)
    jumps = np.repeat(rng.normal(size=6) * 100, 4)  # across arms they rise together, within they fall
    across = inference.rank_correlation(x + jumps, y + jumps, arms, kind)
    within = inference.within_arms(x + jumps, y + jumps, arms, kind)
    assert across.value > 0.5
    assert within.value < -0.5
    assert within.value == pytest.approx(inference.within_arms(x, y, arms, kind).value)


def test_arms_of_one_run_say_nothing_within() -> None:
    x, y, arms = drawn(6, 1, np.random.default_rng(5))
    assert math.isnan(inference.within_arms(x, y, arms).value)


def test_auc_is_scikit_learns_with_ties() -> None:
    rng = np.random.default_rng(6)
    scores, flags = rng.integers(0, 6, size=40).astype(float), rng.random(40) < 0.3
    found = inference.auc(scores, flags, [f"{i % 8}" for i in range(40)])
    assert found.value == pytest.approx(roc_auc_score(flags, scores))
    assert 0 < found.low < found.value < found.high < 1
    other = inference.auc(-scores, flags, [f"{i % 8}" for i in range(40)])
    assert (other.low, other.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_auc_interval_solves_newcombes_equation_where_one_class_is_in_one_arm() -> None:
    rng = np.random.default_rng(7)
    scores, flags = rng.normal(size=20), np.arange(20) < 8
    found = inference.auc(scores, flags, ["one" if flag else str(i) for i, flag in enumerate(flags)])
    for end in (found.low, found.high):
        star = 13 / 2 - 1
        pairs = 8 * 12 * (13 / 20) ** 2
        variance = end * (1 - end) * (1 + star * (1 - end) / (2 - end) + star * end / (1 + end)) / pairs
        assert abs(end - found.value) == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(variance), rel=1e-6)


def test_auc_interval_of_independent_runs_has_delongs_variance() -> None:
    rng = np.random.default_rng(17)
    scores, flags = rng.normal(size=30), np.arange(30) < 12
    found = inference.auc(scores, flags, [str(i) for i in range(30)])
    wins = (scores[flags][:, None] > scores[~flags]).astype(float)
    variance = wins.mean(1).var(ddof=1) / 12 + wins.mean(0).var(ddof=1) / 18  # DeLong et al. 1988
    half = stats.t.ppf(0.975, 29) * math.sqrt(variance) / (found.value * (1 - found.value))
    logit = math.log(found.value / (1 - found.value))
    expected = [1 / (1 + math.exp(-end)) for end in (logit - half, logit + half)]
    assert [found.low, found.high] == pytest.approx(expected)


def test_copies_of_runs_in_an_arm_add_nothing_to_the_auc() -> None:
    rng = np.random.default_rng(18)
    scores, flags, arms = rng.normal(size=16), np.arange(16) < 8, [str(i) for i in range(16)]
    once = inference.auc(scores, flags, arms)
    thrice = inference.auc(np.repeat(scores, 3), np.repeat(flags, 3), list(np.repeat(arms, 3)))
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))


@pytest.mark.parametrize("sign", [1, -1])
def test_auc_of_perfect_separation_is_no_point(sign: int) -> None:
    found = inference.auc(sign * np.arange(12.0), np.arange(12) >= 6, [str(i // 2) for i in range(12)])
    assert found.value == (1.0 if sign > 0 else 0.0)
    assert found.high - found.low > 0.2


def test_auc_is_undefined_without_both_kinds_and_without_interval_from_few_arms() -> None:
    scores, arms = np.arange(6.0), [str(i) for i in range(6)]
    assert math.isnan(inference.auc(scores, np.zeros(6, bool), arms).value)
    assert math.isnan(inference.auc(scores, np.ones(6, bool), arms).value)
    few = inference.auc(scores, scores > 2, ["a", "b", "c"] * 2)
    assert few.value == 1.0
    assert math.isnan(few.low)


@pytest.mark.parametrize(("arms", "runs"), [(6, 3), (14, 3)])
def test_rank_correlation_covers_the_truth_in_simulated_studies(arms: int, runs: int) -> None:
    rng = np.random.default_rng(8)
    # Rho of the normal pairs above: correlation 0.3, and Spearman's of it.
    truth = 6 / math.pi * math.asin(0.3 / 2)
    held = 0
    for _ in range(150):
        found = inference.rank_correlation(*drawn(arms, runs, rng))
        held += found.low <= truth <= found.high
    assert held / 150 > 0.89  # 95 % less three standard errors


def test_auc_covers_the_truth_in_simulated_studies() -> None:
    rng = np.random.default_rng(9)
    big, flags, _ = drawn(20_000, 3, rng)
    truth = roc_auc_score(flags > 0, big)
    held = 0
    for _ in range(150):
        scores, flags, arms = drawn(10, 3, rng)
        found = inference.auc(scores, flags > 0, arms)
        held += found.low <= truth <= found.high
    assert held / 150 > 0.92


def test_differences_between_groups_cannot_make_a_correlation_within_groups() -> None:
    rng = np.random.default_rng(10)
    x, y, arms = drawn(12, 3, rng, between=-0.8)
    groups = [f"group {i // 12}" for i in range(36)]
    jumps = np.repeat(rng.normal(size=3) * 100, 12)  # across groups they rise together, within they fall
    assert inference.rank_correlation(x + jumps, y + jumps, arms).value > 0.5
    found = inference.within_groups(x + jumps, y + jumps, arms, groups)
    assert found.value < 0
    assert found == inference.within_groups(x, y, arms, groups)
    assert inference.within_groups(x, y, arms, arms) == inference.within_arms(x, y, arms)
    tau = inference.within_groups(x, y, arms, groups, "kendall").value
    assert tau == pytest.approx(brute_within(x, y, groups))


def test_within_groups_covers_the_truth_in_simulated_studies() -> None:
    rng = np.random.default_rng(11)
    groups = [f"group {i // 15}" for i in range(45)]
    x, y, _ = drawn(20_000, 3, rng)
    truth = inference.within_groups(x, y, ["a"] * 60_000, ["a"] * 60_000).value
    held = 0
    for _ in range(150):
        x, y, arms = drawn(15, 3, rng)
        found = inference.within_groups(x, y, arms, groups)
        held += found.low <= truth <= found.high
    assert held / 150 > 0.89


def test_standardised_is_hedges_g_with_the_noncentral_t_interval() -> None:
    a, b = np.array([1.0, 2.5, 2.0, 2.2]), np.array([4.0, 4.1, 9.0])
    found = inference.standardised(a, b, 0.9)
    spread = math.sqrt((3 * a.var(ddof=1) + 2 * b.var(ddof=1)) / 5)
    unit = math.sqrt(1 / 4 + 1 / 3)
    # Hedges' approximation of his factor is good to 0.001 here.
    assert found.value == pytest.approx((a.mean() - b.mean()) / spread * (1 - 3 / (4 * 5 - 1)), abs=3e-3)
    t = stats.ttest_ind(a, b).statistic
    for end, share in ((found.low, 0.95), (found.high, 0.05)):
        assert stats.nct.cdf(t, 5, end / unit) == pytest.approx(share, abs=1e-3)
    other = inference.standardised(b, a, 0.9)
    assert (other.value, other.low, other.high) == pytest.approx((-found.value, -found.high, -found.low), abs=1e-3)


@pytest.mark.parametrize("runs", [3, 10])
def test_standardised_covers_the_truth_in_simulated_arms(runs: int) -> None:
    rng = np.random.default_rng(12)
    found = [inference.standardised(1.5 + rng.normal(size=runs), rng.normal(size=runs)) for _ in range(200)]
    assert np.mean([f.low <= 1.5 <= f.high for f in found]) > 0.9
    assert np.mean([f.value for f in found]) == pytest.approx(1.5, abs=0.35)  # unbiased


@pytest.mark.parametrize(("a", "b"), [([0.0, 0.0], [1.0, 1.0]), ([1.0], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0])])
def test_without_spread_there_is_no_standardised_effect(a: list[float], b: list[float]) -> None:
    found = inference.standardised(a, b)
    assert math.isnan(found.value)
    assert math.isnan(found.low)


def test_a_huge_effect_has_an_interval_too() -> None:
    found = inference.standardised([5.0, 5.001, 5.002], [0.0, 0.0, 0.0])
    assert found.low < found.value < found.high
    assert math.isfinite(found.high)


def test_holm_is_the_step_down_by_hand_and_skips_nan() -> None:
    found = inference.holm([0.01, 0.04, math.nan, 0.03, 0.9])
    np.testing.assert_allclose(found, [0.04, 0.09, math.nan, 0.09, 0.9])


def test_holm_keeps_the_chance_of_one_false_finding() -> None:
    rng = np.random.default_rng(13)
    false = [(inference.holm(rng.random(10)) <= 0.05).any() for _ in range(2000)]
    assert 0.035 < np.mean(false) < 0.065


@pytest.mark.parametrize(("positive", "negative"), [(3, 3), (3, 4), (2, 6), (2, 7), (4, 4), (2, 9)])
def test_few_arms_that_are_separated_perfectly_tell_what_a_permutation_test_does(positive: int, negative: int) -> None:
    """Of all ways to call so many arms positive, two are separated perfectly."""
    count = positive + negative
    for sign in (1, -1):
        found = inference.auc(sign * np.arange(count), np.arange(count) >= negative, [str(i) for i in range(count)])
        exact = 2 / math.comb(count, positive)
        assert (found.low > 0.5 or found.high < 0.5) == (exact <= 0.05)
