"""Differences of barriers between few runs, by permutation tests, because barriers are often exactly zero.

A barrier (hump, min Delta, height above a chord) is zero on every decreasing line, so that in an arm half of the runs
may have none and the others one of any height. Welch's interval assumes normal values. Here a difference is compared
with those under all other assignments of the same values to the two arms (Fisher 1935; Pitman 1937), or under 20,000
random ones where there are more. The interval contains every shift of one arm that this test does not reject, computed
exactly: for each assignment the shifts at which it is at least as extreme form one interval.

With 3 against 3 runs the smallest p-value is 0.1, so no 95 % interval exists; the fewest runs that have one are 3
against 4, or 6 pairs.

The test is exact: if both arms have the same distribution, it rejects in at most 5 % of studies, whatever the values.
The interval also assumes that one arm is a shift of the other. Rises that are zero in half of the runs violate this:
where one arm's rises were three times as high, intervals of 4 to 10 runs a side contained the true difference of means
in 86-89 % of simulated studies (Welch's in 87-90 %), and in 95-99 % where the arms were alike. So whether an interval
excludes 0 is fairly reliable, its far end less so (`benchmarks/intervals_of_barriers.py`).

An interval that excludes 0 says that the arms differ. It says so of their means where both sides have as many runs or
vary as much: arms of one mean, of which one was 0 in half of its runs and the other nearly constant, were told apart
in 13 % of studies of 5 against 5 runs, and in 34 % of 5 against 20. So reports use `inference.permutation_difference`,
which is wider where the numbers of runs differ.
"""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linescape.shape import Estimate

Array = NDArray[np.float64]

MOST = 20_000
"""Up to this number of assignments all are evaluated; of more, this many are drawn."""

_SLACK = 1e-9
"""Of the largest value: differences up to this are rounding, as of sums of the same values in another order."""


def permutation_difference(values: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> Estimate:
    """mean(values) - mean(baseline) of independent runs ``(n,)``, ``(m,)``, with the interval of the permutation test.

    The shifts of `values` against `baseline` that the test at 1 - `level` does not reject. NaN ends
    where no interval exists: too few runs (see above), values that are not finite, or no spread at all. NaN for an
    empty side.
    """
    x, y = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    if not x.size or not y.size:
        return Estimate(math.nan, math.nan, math.nan, level)
    with np.errstate(invalid="ignore"):  # infinity - infinity: NaN is meant
        apart = float(x.mean() - y.mean())
    if not np.isfinite(np.concatenate([x, y])).all():
        return Estimate(apart, math.nan, math.nan, level)
    return _inverted(apart, *_splits(x, y), _rounding(x, y), level)


def paired_difference(values: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean of ``values - baseline`` of pairs of runs ``(n,)``, with the interval of the sign-flip test.

    Pairs are runs that share a seed or a start. NaN as `permutation_difference`; fewer than 6 pairs have no 95 %
    interval. The test assumes that differences are distributed symmetrically about their mean.

    Raises:
        ValueError: the two sides differ in length.
    """
    apart = _apart(values, baseline)
    if not apart.size:
        return Estimate(math.nan, math.nan, math.nan, level)
    with np.errstate(invalid="ignore"):  # infinity - infinity: NaN is meant
        mean = float(apart.mean())
    if not np.isfinite(apart).all():
        return Estimate(mean, math.nan, math.nan, level)
    return _inverted(mean, *_flips(apart), _rounding(values, baseline), level)


def permutation_p_value(values: ArrayLike, baseline: ArrayLike) -> float:
    """The two-sided p-value of "both arms have the same distribution"; NaN as `permutation_difference`."""
    x, y = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    if not x.size or not y.size or not np.isfinite(np.concatenate([x, y])).all():
        return math.nan
    return _p_value(float(x.mean() - y.mean()), _splits(x, y)[0], _rounding(x, y))


def paired_p_value(values: ArrayLike, baseline: ArrayLike) -> float:
    """The two-sided p-value of "differences of pairs are symmetric about 0"; NaN as `paired_difference`."""
    apart = _apart(values, baseline)
    if not apart.size or not np.isfinite(apart).all():
        return math.nan
    return _p_value(float(apart.mean()), _flips(apart)[0], _rounding(values, baseline))


@np.errstate(invalid="ignore")  # infinity - infinity: NaN is meant
def _apart(values: ArrayLike, baseline: ArrayLike) -> Array:
    """The difference of each pair."""
    x, y = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    if x.shape != y.shape:
        raise ValueError(
            f"{x.size} and {y.size} values cannot be paired. Give one value of each side for every pair of runs."
        )
    return np.subtract(x, y)


def _splits(x: Array, y: Array) -> tuple[Array, Array]:
    """For each assignment: the difference of means, and how much of a shift of `x` it keeps (-1: all, reversed)."""
    n, m = x.size, y.size
    both = np.concatenate([x, y])
    if math.comb(n + m, n) <= MOST:
        chosen = np.array(list(combinations(range(n + m), n)))
    else:
        random = np.random.default_rng(0)
        drawn = random.permuted(np.tile(np.arange(n + m), (MOST, 1)), axis=1)[:, :n]
        chosen = np.vstack([np.arange(n), drawn])  # the measured one counts
    sums = both[chosen].sum(axis=1)
    kept = (chosen < n).sum(axis=1)
    return sums / n - (both.sum() - sums) / m, kept / n - (n - kept) / m


def _flips(apart: Array) -> tuple[Array, Array]:
    """For each choice of signs: the mean difference, and how much of a shift it keeps."""
    n = apart.size
    if 2**n <= MOST:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (MOST + 1, n))
        signs[0] = 1.0
    return signs @ apart / n, signs.mean(axis=1)


def _rounding(x: ArrayLike, y: ArrayLike) -> float:
    return _SLACK * float(np.abs([*np.asarray(x, np.float64), *np.asarray(y, np.float64)]).max())


def _p_value(measured: float, others: Array, rounding: float) -> float:
    return float(np.mean(np.abs(others) >= abs(measured) - rounding))


def _inverted(measured: float, others: Array, kept: Array, rounding: float, level: float) -> Estimate:
    """All shifts s at which more than 1 - `level` of the assignments are at least as far from 0 as the measured one.

    An assignment with difference a that keeps a share b of a shift is, at shift s, as far as |a - b s|, the measured
    one as |measured - s|. With -1 < b < 1, the former is the larger between two roots, on either side of `measured`.
    """
    always = np.abs(kept) > 1 - _SLACK
    a, b = others[~always], kept[~always]
    roots = np.stack([(measured - a) / (1 - b), (measured + a) / (1 + b)])
    rejected = math.floor((1 - level) * others.size + _SLACK)  # so many assignments are not enough
    if always.sum() > rejected or np.ptp(roots) <= rounding:
        return Estimate(measured, math.nan, math.nan, level)
    # An assignment counts at s if s lies between its roots; all lie around `measured`, so counts fall on either side.
    spare = rejected - int(always.sum())
    low = float(np.sort(roots.min(axis=0))[spare])
    high = float(np.sort(roots.max(axis=0))[-1 - spare])
    # Where values are equal, as barriers of 0 are, roots are 0 but for rounding, and an interval that ends there has 0.
    low, high = (0.0 if abs(end) <= 2 * rounding else end for end in (low - rounding, high + rounding))
    return Estimate(measured, low, high, level)
