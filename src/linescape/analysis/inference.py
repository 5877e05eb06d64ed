"""Intervals from few runs: means, differences, effects, rank correlations and areas under the ROC curve.

A study has arms (interventions) with a few runs (seeds) each. Runs of one arm resemble each other, so that 45 runs in
15 arms are hardly more informative about a relation across interventions than 15 runs. Every interval across arms
therefore takes the arm, not the run, as the sampling unit. Intervals are `Estimate`s; where the data
cannot give one, its ends are NaN, never a width of zero.

Why not the bootstrap. In simulations (5, 8, 15 and 30 arms of 3 runs; none, half or 95 % of the variance between arms;
one statistic often zero or not; 300 studies each), nominal 95 % intervals contained the true value in

                                          rank correlation     AUC
    percentile bootstrap over whole arms      87-96 %        71-93 %
    here                                      92-98 %        93-99 %

The bootstrap is too short with few arms, and collapses to a point when the classes separate perfectly.
`benchmarks/intervals_across_arms.py` repeats this. Barriers of two arms are compared in `permutation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linescape.analysis import permutation
from linescape.analysis.permutation import paired_difference, paired_p_value, permutation_p_value
from linescape.shape import Estimate

__all__ = [
    "FEWEST_ARMS",
    "auc",
    "bounded",
    "difference",
    "holm",
    "mean",
    "paired_difference",
    "paired_p_value",
    "permutation_difference",
    "permutation_p_value",
    "rank_correlation",
    "standardised",
    "within_arms",
    "within_groups",
]

Array = NDArray[np.float64]
Kind = Literal["spearman", "kendall"]

FEWEST_ARMS = 4
"""With fewer arms an interval across arms is undefined: it would be all of [-1, 1] or chance."""


def mean(values: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean of independent `values` ``(n,)`` and its t interval (n - 1 degrees of freedom).

    NaN ends for fewer than two values, and for equal values, whose spread is unknown, not zero. Values that are not
    finite give such a mean without an interval; no values give NaN.
    """
    from scipy import stats

    values = np.asarray(values, np.float64)
    if not values.size:
        return Estimate(math.nan, math.nan, math.nan, level)
    with np.errstate(invalid="ignore"):  # infinity - infinity: NaN is meant
        centre = float(values.mean())
    if values.size < 2 or not np.isfinite(values).all() or _equal(values):
        return Estimate(centre, math.nan, math.nan, level)
    half = float(stats.t.ppf((1 + level) / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    return Estimate(centre, centre - half, centre + half, level)


def bounded(estimate: Estimate, low: float, high: float) -> Estimate:
    """An estimate whose interval is cut off at the smallest and the largest value that are possible."""
    if math.isnan(estimate.low):
        return estimate
    return Estimate(estimate.value, max(estimate.low, low), min(estimate.high, high), estimate.level)


def difference(values: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> Estimate:
    """mean(values) - mean(baseline), with Welch's interval: spreads may differ, runs are independent.

    NaN ends if either side has fewer than two values or a value that is not finite, or if neither side varies.
    """
    from scipy import stats

    values, baseline = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    if not values.size or not baseline.size:
        return Estimate(math.nan, math.nan, math.nan, level)
    with np.errstate(invalid="ignore"):  # infinity - infinity: NaN is meant
        apart = float(values.mean() - baseline.mean())
    unknown = Estimate(apart, math.nan, math.nan, level)
    if min(values.size, baseline.size) < 2 or not np.isfinite(np.concatenate([values, baseline])).all():
        return unknown
    shares = [0.0 if _equal(side) else float(side.var(ddof=1)) / side.size for side in (values, baseline)]
    if sum(shares) == 0:
        return unknown
    freedom = sum(shares) ** 2 / sum(s**2 / (n - 1) for s, n in zip(shares, (values.size, baseline.size), strict=True))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(sum(shares))
    return Estimate(apart, apart - half, apart + half, level)


def permutation_difference(values: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> Estimate:
    """`permutation.permutation_difference`; where one side has fewer runs, no narrower than Welch's interval.

    The permutation test takes the arms to be alike but for a shift. With as many runs on both sides it bears unequal
    spreads; where the side with fewer runs varies more, it does not. Of 400 simulated studies without a difference of
    means, one arm being 0 in half of its runs and the other nearly constant, it excluded 0 in 17 % (4 against 10 runs),
    25 % (3 against 8) and 34 % (5 against 20), Welch's interval in 10, 25 and 7 %.
    """
    found = permutation.permutation_difference(values, baseline, level)
    if np.size(values) == np.size(baseline) or math.isnan(found.low):
        return found
    usual = difference(values, baseline, level)  # which has ends where one side varies, as it does here
    return Estimate(found.value, min(found.low, usual.low), max(found.high, usual.high), level)


def standardised(values: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> Estimate:
    """Hedges' g: the difference of means in units of the runs' standard deviation, without small samples' bias.

    ``J (mean - mean) / s`` with s pooled over both sides and J = Γ(f/2) / (√(f/2) Γ((f-1)/2)), f = n₁ + n₂ - 2 (Hedges
    1981). Interval: the effects that a test with the noncentral t distribution does not reject (Steiger & Fouladi
    1997), exact for normal values of equal variance, else approximate. NaN ends (and NaN where neither side
    varies, which leaves no unit) as `difference`.
    """
    from scipy import special, stats
    from scipy.optimize import brentq

    values, baseline = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    both = np.concatenate([values, baseline])
    undefined = Estimate(math.nan, math.nan, math.nan, level)
    if min(values.size, baseline.size) < 2 or not np.isfinite(both).all():
        return undefined
    if _equal(values) and _equal(baseline):
        return undefined
    freedom = both.size - 2
    spread = math.sqrt(sum((side.size - 1) * float(side.var(ddof=1)) for side in (values, baseline)) / freedom)
    unit = math.sqrt(1 / values.size + 1 / baseline.size)
    effect = float(values.mean() - baseline.mean()) / spread
    # P(t <= measured) for a noncentrality is the mean of Φ(measured · s - noncentrality) over s = √(χ²/f); midpoints of
    # its quantiles, since scipy's noncentral t fails far out.
    chi = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom) / freedom)
    scaled = effect / unit * chi
    around = float(scaled.min()) - 8, float(scaled.max()) + 8

    def end(share: float) -> float:
        return unit * float(brentq(lambda at: float(special.ndtr(scaled - at).mean()) - share, *around))

    bias = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return Estimate(bias * effect, end((1 + level) / 2), end((1 - level) / 2), level)


def holm(p_values: ArrayLike) -> Array:
    """Holm's (1979) adjusted p-values ``(n,)``: rejecting those of at most a has a family-wise error rate of at most a.

    NaN is not a test: it stays NaN and does not count.
    """
    p_values = np.asarray(p_values, np.float64)
    adjusted = np.full(p_values.shape, math.nan)
    order = [int(i) for i in np.argsort(p_values) if not np.isnan(p_values[i])]
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * float(p_values[i])))
        adjusted[i] = worst
    return adjusted


def rank_correlation(
    x: ArrayLike, y: ArrayLike, arms: Sequence[str], kind: Kind = "spearman", level: float = 0.95
) -> Estimate:
    """Spearman's rho or Kendall's tau-b over all runs.

    Interval: Fisher's z, its standard error from leaving out one arm at a time (jackknife), t with arms - 1 degrees
    of freedom. It generalises to other interventions like these. Pairs with NaN are left out; infinite values
    have the outermost ranks. NaN without two different values of each; NaN ends below `FEWEST_ARMS` arms, for a
    perfect correlation, and if the correlation is undefined without some arm.

    Args:
        x: a value for each run ``(n,)``.
        y: a value for each run ``(n,)``.
        arms: the arm of each run ``(n,)``.
        kind: ``spearman`` or ``kendall``.
        level: confidence level.
    """
    from scipy import stats

    x, y, labels = _finite_pairs(x, y, arms)

    def correlation(kept: NDArray[np.bool_]) -> float:
        a, b = x[kept], y[kept]
        if a.size < 2 or (a == a[0]).all() or (b == b[0]).all():
            return math.nan
        if kind == "kendall":
            return float(stats.kendalltau(a, b).statistic)
        return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])

    return _jackknife(correlation, labels, level)


def within_arms(
    x: ArrayLike, y: ArrayLike, arms: Sequence[str], kind: Kind = "spearman", level: float = 0.95
) -> Estimate:
    """The rank correlation within arms: differences between arms cannot cause it.

    ``sum_a S_xy / sqrt(sum_a S_xx sum_a S_yy)`` over arms a, where S are sums of products of ranks within the arm
    minus their mean (``spearman``), or of signs of differences between pairs of its runs (``kendall``: tau-b of the
    pairs within arms). Arms in which x or y does not vary, such as those of one run, are left out.
    Interval and NaN as `rank_correlation`.

    Args:
        x: a number of each run ``(runs,)``.
        y: another number of each run ``(runs,)``.
        arms: the arm of each run.
        kind: ``spearman`` or ``kendall``.
        level: probability with which an interval covers the true value.
    """
    return within_groups(x, y, arms, arms, kind, level)


def within_groups(
    x: ArrayLike,
    y: ArrayLike,
    arms: Sequence[str],
    groups: Sequence[str],
    kind: Kind = "spearman",
    level: float = 0.95,
) -> Estimate:
    """The rank correlation within groups of arms: differences between groups cannot cause it, those between arms can.

    Groups in which x or y does not vary, such as those of one run, are left out. The unit of the interval is the arm.

    Args:
        x: values ``(n,)``.
        y: values ``(n,)``.
        arms: the arm of each run ``(n,)``.
        groups: the group of each run ``(n,)``.
        kind: ``spearman`` or ``kendall``, as in `within_arms`.
        level: confidence level.
    """
    strata = _finite_pairs(x, y, groups)[2]
    a, b, labels = _finite_pairs(x, y, arms)

    def products(kept: NDArray[np.bool_]) -> dict[str, tuple[float, float, float]]:
        """Sums of the groups in which both vary."""
        members = {group: kept & (strata == group) for group in sorted(set(strata.tolist()))}
        sums = {group: _products(a[runs], b[runs], kind) for group, runs in members.items()}
        return {group: row for group, row in sums.items() if row[1] > 0 and row[2] > 0}

    varying = np.isin(strata, list(products(np.ones(labels.size, bool))))

    def correlation(kept: NDArray[np.bool_]) -> float:
        sums = list(products(kept).values())
        if not sums:
            return math.nan
        xy, xx, yy = np.sum(sums, axis=0)
        return float(xy / math.sqrt(xx * yy))

    strata, a, b, labels = strata[varying], a[varying], b[varying], labels[varying]
    return _jackknife(correlation, labels, level)


def auc(scores: ArrayLike, positive: ArrayLike, arms: Sequence[str], level: float = 0.95) -> Estimate:
    """How well scores identify positive runs: the area under the ROC curve.

    The probability that a positive run has a higher score than a negative one, ties counted half: 0.5 is chance,
    below 0.5 the relation is inverse. Interval: Obuchowski's variance with arms as clusters
    (Biometrics 53, 1997, 567-578) on the logit scale, t with arms - 1 degrees of freedom. Where that variance is
    unknown, as when the classes separate perfectly or one is in a single arm: Newcombe's fifth method (Statistics in
    Medicine 25, 2006, 559-573; a score interval from Hanley and McNeil's variance) with both class sizes divided by
    the mean number of runs per arm, as if the runs of an arm were copies; its width is never zero, and it includes 0.5
    where so few arms would be separated perfectly by chance more often than in 1 - `level`. NaN scores are left out.
    NaN if no run or every run is positive; NaN ends below `FEWEST_ARMS` arms.

    Args:
        scores: a score for each run ``(n,)``.
        positive: whether each run is positive ``(n,)``.
        arms: the arm of each run ``(n,)``.
        level: confidence level.
    """
    from scipy import special, stats

    scores = np.asarray(scores, np.float64)
    known = ~np.isnan(scores)
    kept: Array = scores[known]
    flags, labels = np.asarray(positive, bool)[known], np.asarray(arms, np.str_)[known]
    count, rest = int(flags.sum()), int((~flags).sum())
    if not count or not rest:
        return Estimate(math.nan, math.nan, math.nan, level)
    ranks = stats.rankdata(kept)
    area = float((ranks[flags].sum() - count * (count + 1) / 2) / (count * rest))
    clusters = len(set(labels.tolist()))
    if clusters < FEWEST_ARMS:
        return Estimate(area, math.nan, math.nan, level)
    variance = _clustered_variance(kept, flags, labels, area)
    if not variance > 1e-12 or not 0 < area < 1:  # NaN, or zero but for rounding
        found = _newcombe(area, count, rest, clusters, level)
        chance = _as_far_by_chance(area, flags, labels) > 1 - level
        return Estimate(area, min(found.low, 0.5), max(found.high, 0.5), level) if chance else found
    half = float(stats.t.ppf((1 + level) / 2, clusters - 1)) * math.sqrt(variance) / (area * (1 - area))
    middle = float(special.logit(area))
    return Estimate(area, float(special.expit(middle - half)), float(special.expit(middle + half)), level)


def _clustered_variance(scores: Array, flags: NDArray[np.bool_], labels: NDArray[np.str_], area: float) -> float:
    """Obuchowski's (1997) variance of the area under the ROC curve; NaN where a class is in fewer than two arms."""
    above, below = scores[flags], scores[~flags]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    placements = np.zeros(scores.size)
    placements[flags], placements[~flags] = wins.mean(axis=1), wins.mean(axis=0)
    arms = sorted(set(labels.tolist()))
    sums = np.array(
        [[((placements - area) * side)[labels == arm].sum() for side in (flags, ~flags)] for arm in arms]
    )  # (arms, classes)
    arm_counts = [len(set(labels[side].tolist())) for side in (flags, ~flags)]
    if min(arm_counts) < 2:
        return math.nan
    count, rest, clusters = above.size, below.size, len(arms)
    ten, one = (
        arms_with_class / (arms_with_class - 1) * float((sums[:, side] ** 2).sum()) / size**2
        for side, (arms_with_class, size) in enumerate(zip(arm_counts, (count, rest), strict=True))
    )
    mixed = clusters / (clusters - 1) * float((sums[:, 0] * sums[:, 1]).sum()) / (count * rest)
    return ten + one + 2 * mixed


def _as_far_by_chance(area: float, flags: NDArray[np.bool_], labels: NDArray[np.str_]) -> float:
    """How often so many arms are separated perfectly by chance; 0 where they are not, or an arm has both classes."""
    positive, negative = (set(labels[side].tolist()) for side in (flags, ~flags))
    if 0 < area < 1 or positive & negative:
        return 0.0
    return 2 / math.comb(len(positive) + len(negative), len(positive))


def _newcombe(area: float, count: int, rest: int, clusters: int, level: float) -> Estimate:
    """Newcombe's interval with the runs of an arm counted as one run."""
    from scipy import stats
    from scipy.optimize import brentq

    share = clusters / (count + rest)
    pairs, star = count * rest * share**2, clusters / 2 - 1
    z = float(stats.norm.ppf((1 + level) / 2))

    def outside(true: float) -> float:
        """Positive where a true area is too far from the measured one to be in the interval."""
        variance = true * (1 - true) * (1 + star * (1 - true) / (2 - true) + star * true / (1 + true)) / pairs
        return (true - area) ** 2 - z**2 * variance

    # `outside` is negative at the measured area and positive at 0 and 1; at an area of 0 or 1 it touches 0 there.
    low = float(brentq(outside, 0.0, min(area, 1 - 1e-9))) if area > 0 else 0.0
    high = float(brentq(outside, max(area, 1e-9), 1.0)) if area < 1 else 1.0
    return Estimate(area, low, high, level)


def _equal(values: Array) -> bool:
    """Whether finite values differ by no more than rounding, as sums of the same numbers in another order do."""
    return bool(np.ptp(values) <= 64 * np.finfo(np.float64).eps * np.abs(values).max())


def _finite_pairs(x: ArrayLike, y: ArrayLike, arms: Sequence[str]) -> tuple[Array, Array, NDArray[np.str_]]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = ~(np.isnan(x) | np.isnan(y))
    return x[known], y[known], np.asarray(arms, dtype=np.str_)[known]


def _products(x: Array, y: Array, kind: Kind) -> tuple[float, float, float]:
    """S_xy, S_xx, S_yy of one arm."""
    from scipy import stats

    if kind == "spearman":
        a, b = (stats.rankdata(values) - (values.size + 1) / 2 for values in (x, y))
    else:
        upper = np.triu_indices(x.size, 1)
        a, b = ((values[:, None] > values) * 1.0 - (values[:, None] < values) for values in (x, y))
        a, b = a[upper], b[upper]
    return float((a * b).sum()), float((a * a).sum()), float((b * b).sum())


def _jackknife(correlation: Callable[[NDArray[np.bool_]], float], labels: NDArray[np.str_], level: float) -> Estimate:
    """A correlation and its jackknife interval on Fisher's z, leaving out one arm at a time."""
    from scipy import stats

    value = correlation(np.ones(labels.size, bool))
    arms = sorted(set(labels.tolist()))
    without = np.array([correlation(labels != arm) for arm in arms])
    few = len(arms) < FEWEST_ARMS
    if few or not (np.abs([value, *without]) < 1 - 1e-9).all() or np.ptp(without) == 0:  # NaN, perfect, or no spread
        return Estimate(value, math.nan, math.nan, level)
    z = np.arctanh(without)
    error = math.sqrt((len(arms) - 1) / len(arms) * float(((z - z.mean()) ** 2).sum()))
    half = float(stats.t.ppf((1 + level) / 2, len(arms) - 1)) * error
    return Estimate(value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half), level)
