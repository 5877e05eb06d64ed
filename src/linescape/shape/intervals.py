"""How certain a statistic of a curve is, given that it was measured on a sample of examples.

The paired bootstrap: draw as many examples as there are, with replacement, the same ones at every
alpha; average; compute the statistic of that curve; repeat (Efron 1979). The examples of one batch share
the network, so neighbouring points of a curve move together, and an interval made point by point
would be far too wide for a difference between them.

Which interval. Barriers and rises are maxima of noisy means, hence biased upwards, and their resampled
values twice so. On synthetic populations (26 alphas, 500 and 2,000 examples with lognormal losses,
correlated along alpha), intervals meant to cover the population's `min_delta` in 95 % of samples did so in

                  real barrier   small bump on a plateau   flat plateau
    percentile       91-95 %            50-80 %                 2 %
    basic            91-96 %            84-90 %              90-92 %
    BCa              90 %                 78 %                 27 %
    the wider        93-97 %              96 %               90-92 %

so each side here is the wider of percentile and basic (2 x value - the opposite percentile). The
percentile interval alone calls every flat plateau a bump. Where nine losses of ten are zero, as those of a
trained network nearly are, that still does so on 16 % of flat plateaus. So a lower end above 0 also
allows for what noise alone lifts (`noise.lifted`): of 200 samples of 1,000 examples each, from five curves
(a barrier of 1 nat, bumps of 0.1 and 0.03 on plateaus, flat, falling) with lognormal losses, very unequal ones
(log-deviation 2) and losses of which nine in ten are zero, the intervals of barriers and rises covered the truth
in 94-100 %; before, in 84-100 %. Those of rises became 8-20 % wider, of small humps up to a third
(`benchmarks/intervals_of_barriers.py`).

What remains: that was with 1,000 examples. A barrier of 1 nat is covered in 88-97 % with 200 examples and in 67-99 %
with 10 to 50, least where losses are very unequal. Where most examples rise a little and rare ones fall far, too many
intervals are above 0 (`linescape.shape.verdict` allows for that). Very unequal losses give an interval of the mean loss
(`area`) that is too short, as for any mean (88 % at a log-deviation of 2). Statistics that jump when the curve changes
a little (fractions of points, positions) have no reliable interval where the curve is flat. To claim that a curve
rises, use `rise_p_value`.

The interval is about the examples: what another test set would give for the same two networks. It
says nothing about other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from linescape.errors import AlphaError, DataError, RecipeError
from linescape.shape.noise import lifted
from linescape.shape.statistics import Array, Statistic, min_delta, segment

_WEIGHTS_AT_ONCE = 4_000_000  # 32 MB


@dataclass(frozen=True)
class Estimate:
    """A statistic `value` and its interval [`low`, `high`], which covers the true value with probability `level`.

    The ends may lie where the statistic cannot, such as `low` below 0: the interval then includes 0.
    """

    value: float
    low: float
    high: float
    level: float


def estimates(
    alphas: ArrayLike,
    values: ArrayLike,
    functions: Mapping[str, Statistic],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Each statistic of the mean curve, with its interval; all from the same resamples.

    A statistic that is NaN in any resample has NaN for its interval. An infinite example makes the statistic of those
    resamples infinite that drew it, so one end of the interval can be finite.

    Args:
        alphas: positions ``(n,)``.
        values: per-example losses ``(n, examples)``.
        functions: such as `linescape.shape.LOSS_STATISTICS`, called as ``function(alphas (m,), losses (..., m))``.
        resamples: of the examples.
        level: probability with which an interval covers the true value.
        seed: of the resamples; curves of equally many examples get the same ones from one seed, so they stay paired.

    Raises:
        AlphaError: as all statistics.
        DataError: there are fewer than two examples.
        RecipeError: `resamples` or `level` is impossible, or a function does not take many curves.
    """
    if not 0 < level < 1:
        raise RecipeError(f"An interval cannot cover the true value with probability {level}. Use 0.95, for example.")
    alphas, mean, curves = _resample(alphas, values, resamples, seed)
    intervals = {}
    for name, function in functions.items():
        resampled = np.asarray(function(alphas, curves), np.float64)
        if resampled.shape != (resamples,):
            raise RecipeError(
                f"{name!r} returned shape {resampled.shape} for {resamples} curves {curves.shape}, so it is unclear "
                "which value is of which curve. A statistic takes losses (..., n) and returns one value for each curve."
            )
        by_noise = lifted(function, alphas, mean, curves, (1 + level) / 2)
        intervals[name] = _interval(float(function(alphas, mean)), resampled, level, by_noise)
    return intervals


def estimate(
    alphas: ArrayLike,
    values: ArrayLike,
    function: Statistic,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """One statistic of the mean curve, with its interval; NaN, infinity and errors as for `estimates`.

    Args:
        alphas: positions ``(n,)``.
        values: per-example losses ``(n, examples)``.
        function: such as `linescape.shape.hump`.
        resamples: of the examples.
        level: probability with which an interval covers the true value.
        seed: of the resamples.
    """
    return estimates(alphas, values, {"": function}, resamples=resamples, level=level, seed=seed)[""]


def probability_monotone(
    alphas: ArrayLike, values: ArrayLike, tolerance: float = 0.0, *, resamples: int = 1000, seed: int = 0
) -> float:
    """The fraction of resamples whose curve nowhere rises by more than `tolerance`.

    Near 1 or 0 where the curve clearly falls or clearly rises. On a flat stretch every sample rises a
    little, so that with tolerance 0 the fraction is near 0 for a curve that is truly flat: give a
    tolerance above the noise, or use `rise_p_value`. NaN if the curve has a NaN.

    Args:
        alphas: positions ``(n,)``.
        values: per-example losses ``(n, examples)``.
        tolerance: in the unit of the values.
        resamples: of the examples.
        seed: of the resamples.

    Raises:
        AlphaError, DataError, RecipeError: as `estimates`.
    """
    alphas, mean, curves = _resample(alphas, values, resamples, seed)
    return math.nan if np.isnan(mean).any() else float(np.mean(min_delta(alphas, curves) <= tolerance))


def rise_p_value(
    alphas: ArrayLike, values: ArrayLike, tolerance: float = 0.0, *, resamples: int = 1000, seed: int = 0
) -> float:
    """The p-value of "the population's curve nowhere rises by more than `tolerance`"; small: it does rise.

    How often the noise alone, a resampled curve minus the mean curve, rises by at least the measured
    `min_delta` minus the tolerance, counting the measured one (Davison & Hinkley 1997, 4.2). Since
    min_delta(curve + noise) <= min_delta(curve) + min_delta(noise), no monotone curve gives small values
    more often than a flat one, for which they are as frequent as they should be. NaN if the curve has a
    NaN or an infinity.

    Args:
        alphas: positions ``(n,)``.
        values: per-example losses ``(n, examples)``.
        tolerance: in the unit of the values.
        resamples: of the examples.
        seed: of the resamples.

    Raises:
        AlphaError, DataError, RecipeError: as `estimates`.
    """
    alphas, mean, curves = _resample(alphas, values, resamples, seed)
    if not np.isfinite(mean).all():
        return math.nan
    noise = min_delta(alphas, curves - mean)
    return float(1 + np.count_nonzero(noise >= min_delta(alphas, mean) - tolerance)) / (1 + resamples)


def _resample(alphas: ArrayLike, values: ArrayLike, resamples: int, seed: int) -> tuple[Array, Array, Array]:
    """Alphas ``(m,)``, the mean curve ``(m,)`` and mean curves of resampled examples ``(resamples, m)``."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2:
        raise AlphaError(f"Values of shape {values.shape}: pass one for each alpha and example, (alphas, examples).")
    examples = values.shape[1]
    if examples < 2:
        raise DataError(
            f"{examples} examples do not show how much another sample would differ. Keep the values of two or more."
        )
    if resamples < 1:
        raise RecipeError(f"{resamples} resamples give no interval. Use 1000, or a few hundred for a quick estimate.")
    alphas, losses = segment(alphas, values.T)
    # Sums of steps: neighbours that agree on every example then agree in every resample to the bit, so that a
    # line along which nothing changes does not seem to rise by rounding. Zero weight x infinity would be NaN,
    # hence what is not finite is put back afterwards.
    steps = np.diff(np.where(np.isfinite(losses), losses, 0.0), axis=1, prepend=0.0)
    unusual = [(odd, where) for odd, where in _not_finite(losses) if where.any()]
    curves = np.empty((resamples, alphas.size))
    first = 0
    small = resamples * examples <= _WEIGHTS_AT_ONCE
    for weights in (_kept_weights if small else _weights)(examples, resamples, seed):
        part = curves[first : first + len(weights)]
        part[:] = np.cumsum(weights @ steps, axis=1) / examples
        for odd, where in unusual:
            part[weights @ where > 0] += odd
        first += len(weights)
    return alphas, losses.mean(axis=0), curves


def _weights(examples: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each example is drawn, in blocks ``(some resamples, examples)``."""
    rng = np.random.default_rng(seed)
    rows = max(1, _WEIGHTS_AT_ONCE // examples)
    for first in range(0, resamples, rows):
        size = min(rows, resamples - first)
        yield rng.multinomial(examples, np.full(examples, 1 / examples), size=size).astype(np.float64)


@lru_cache(maxsize=4)  # a study measures few numbers of examples; 32 MB each at most
def _kept_weights(examples: int, resamples: int, seed: int) -> tuple[Array, ...]:
    """`_weights`, drawn once for all curves of a study: drawing them takes longer than using them."""
    return tuple(_weights(examples, resamples, seed))


def _not_finite(losses: Array) -> list[tuple[float, Array]]:
    kinds = [(math.inf, losses == math.inf), (-math.inf, losses == -math.inf), (math.nan, np.isnan(losses))]
    return [(odd, where.astype(np.float64)) for odd, where in kinds]


def _interval(value: float, resampled: Array, level: float, by_noise: float) -> Estimate:
    if np.isnan(value) or np.isnan(resampled).any():
        return Estimate(value, math.nan, math.nan, level)
    ordered = np.sort(resampled)
    last = ordered.size - 1
    low = float(ordered[math.floor((1 - level) / 2 * last)])
    high = float(ordered[math.ceil((1 + level) / 2 * last)])
    if math.isfinite(value):
        low, high = min(low, 2 * value - high), max(high, 2 * value - low)
        if low > 0:  # but noise may have lifted it
            low = min(low, max(value - by_noise, 0.0))
    return Estimate(value, low, high, level)
