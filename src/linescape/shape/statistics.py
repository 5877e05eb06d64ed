"""Statistics of a curve: one function for each definition that the field uses.

Every function takes `alphas` ``(n,)``, increasing, with 0 and 1 among them, and `losses` ``(..., n)``:
one curve gives a float, many curves give an array of the leading shape. Below, L(a) is the loss at
alpha = a; a height has the unit of the losses (nats for cross entropy, % for error).

- Only the segment 0 <= alpha <= 1 counts, which must have both ends; points beyond it are cut off.
- A NaN on the segment makes every statistic of that curve NaN. Infinity stays: an infinite loss inside
  is an infinite barrier, and where a formula would subtract infinity from infinity the statistic is NaN.
- `AlphaError` when alphas are unsorted, do not fit the losses, or lack an end.

The barriers of one curve differ. For alphas 0, 1/3, 2/3, 1 and losses 2, 1, 3, 0.5: min_delta 2,
above the chord 2, above the mean 1.75, above the larger end 1. Hence a name for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from linescape.errors import AlphaError

Array = NDArray[np.float64]

TOLERANCE = 0.05
"""Largest rise, in nats, of a line that still counts as monotone: 2 % of ln 10, and above the rises (up to 0.04) of
the plateaus that Vlaar & Frankle (2022) call free of barriers. Lucas et al. (2021) use 0.001 and 0 on training loss."""

_ROUNDING = 8 * float(np.finfo(np.float64).eps)  # a straight line computed in float64 still counts as straight
_infinite = np.errstate(invalid="ignore")  # infinity - infinity is the NaN that the docstrings promise


class Statistic(Protocol):
    """A statistic of a curve: ``(n,)`` and ``(n,)`` -> float; ``(n,)`` and ``(..., n)`` -> array ``(...)``."""

    def __call__(self, alphas: ArrayLike, losses: ArrayLike) -> Any:
        """The statistic of each curve."""


def segment(alphas: ArrayLike, losses: ArrayLike) -> tuple[Array, Array]:
    """The part of a curve between the two networks, as float64: alphas ``(m,)`` and losses ``(..., m)``.

    Raises:
        AlphaError: alphas are not finite and increasing, do not fit the losses, or lack 0 or 1.
    """
    try:
        alphas, losses = np.asarray(alphas, np.float64), np.asarray(losses, np.float64)
    except (TypeError, ValueError) as error:
        raise AlphaError(f"Alphas and losses must be arrays of numbers: {error}.") from error
    if alphas.ndim != 1 or losses.ndim == 0 or losses.shape[-1] != alphas.size:
        raise AlphaError(
            f"{alphas.shape} alphas do not fit losses of shape {losses.shape}: a loss belongs to each alpha. "
            "Pass alphas (n,) and losses (..., n)."
        )
    if not np.isfinite(alphas).all() or (np.diff(alphas) <= 0).any():
        raise AlphaError("The alphas are not finite and increasing, so the curve has no order. Sort them.")
    if 0.0 not in alphas or 1.0 not in alphas:
        extent = f"run from {alphas[0]:g} to {alphas[-1]:g}" if alphas.size else "are empty"
        raise AlphaError(
            f"The {alphas.size} alphas {extent} and lack 0 or 1. A curve's shape is measured between its "
            "two networks: measure both ends, alpha = 0 and alpha = 1 exactly."
        )
    inside = (alphas >= 0) & (alphas <= 1)
    return alphas[inside], losses[..., inside]


def _finish(losses: Array, value: ArrayLike) -> Any:
    value = np.where(np.isnan(losses).any(axis=-1), np.nan, value)
    return value if value.ndim else float(value)


def chord(alphas: Array, losses: Array) -> Array:
    """The straight line between the ends of curves ``(..., n)``, at each alpha ``(n,)``."""
    return losses[..., :1] * (1 - alphas) + losses[..., -1:] * alphas  # both ends exact, unlike a + alpha * (b - a)


def _interior(alphas: Array, losses: Array) -> tuple[Array, Array]:
    if alphas.size < 3:
        raise AlphaError("The curve has no point between alpha = 0 and alpha = 1. Measure at least three alphas.")
    return alphas[1:-1], losses[..., 1:-1]


@_infinite
def _above(losses: Array, base: Array) -> Array:
    # From infinity to infinity is no rise.
    return np.where(losses == base, 0.0, losses - base)


# -- barriers ----------------------------------------------------------------------------------------------------


@_infinite
def barrier_above_chord(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """max over a of L(a) - [(1-a) L(0) + a L(1)] (Entezari et al. 2022); a height, >= 0.

    0, up to rounding, if the curve is convex. It rewards a plateau and can hide a hump below a high
    start. NaN if an end is infinite.
    """
    alphas, losses = segment(alphas, losses)
    return _finish(losses, np.max(losses - chord(alphas, losses), axis=-1))


@_infinite
def barrier_above_mean(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """max over a of L(a) - [L(0) + L(1)] / 2 (Frankle et al. 2020; Ainsworth et al. 2022); a height, >= 0.

    Of errors it is the instability of linear mode connectivity ("stable" below 2 %). Made for two
    trained networks: from an initialisation it is at least [L(0) - L(1)] / 2 for every curve, monotone
    ones included. NaN if an end is infinite.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, np.max(losses, axis=-1) - (losses[..., 0] + losses[..., -1]) / 2)


@_infinite
def barrier_above_max_end(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """max over a of L(a) - max(L(0), L(1)); a height, >= 0, 0 if no point is above the worse network.

    NaN if an end is infinite.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, np.max(losses, axis=-1) - np.maximum(losses[..., 0], losses[..., -1]))


@_infinite
def interior_peak(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """max over 0 < a < 1 of L(a) - L(0); a height, negative if the whole inside is below the start.

    What "barrier" means to the eye on a path from an initialisation (no source). If L(0) is infinite:
    minus infinity, or NaN if a point inside is infinite too. `AlphaError` without a point inside.
    """
    alphas, losses = segment(alphas, losses)
    return _finish(losses, np.max(_interior(alphas, losses)[1], axis=-1) - losses[..., 0])


# -- rises -------------------------------------------------------------------------------------------------------


def min_delta(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The largest rise: max over a1 <= a2 of L(a2) - L(a1) (Lucas et al. 2021, min Delta); a height, >= 0.

    0 means monotone (never rising). It counts the hump and the overshoot at the end alike; `hump` and
    `tail_rise` tell them apart.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, np.max(_above(losses, np.minimum.accumulate(losses, axis=-1)), axis=-1))


def _humps(losses: Array) -> Array:
    """For each point, its height above the higher of two: the lowest point before it and the lowest after it."""
    before = np.minimum.accumulate(losses, axis=-1)
    after = np.minimum.accumulate(losses[..., ::-1], axis=-1)[..., ::-1]
    return _above(losses, np.maximum(before, after))


def hump(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The largest h such that the loss rises by h and later falls by h; a height, >= 0.

    max over b of min(L(b) - min_{a<=b} L(a), L(b) - min_{c>=b} L(c)): a rise that is undone later,
    so no rise that lasts until alpha = 1. It is the same for the reversed curve, and noise
    of at most e at every point changes it by at most 2e. Own definition. With `tail_rise`, for every curve,

        max(hump, tail_rise) <= min_delta <= hump + tail_rise,

    and min_delta is the larger of the two whenever the curve's lowest point comes after the largest rise,
    or that rise lasts to the end: on any usual path from an initialisation.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, np.max(_humps(losses), axis=-1))


def tail_rise(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """L(1) - min over a of L(a): how far the end lies above the curve's lowest point; a height, >= 0.

    The overshoot past the minimum. If the lowest point is the start (two trained networks, the first
    the better), it is the plain difference L(1) - L(0). Own definition; see `hump`.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, _above(losses[..., -1], np.min(losses, axis=-1)))


@_infinite
def start_above_end(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """L(0) - L(1): what training has gained along the line; a height, negative if the end is worse.

    Of a layer-wise line it is what is lost when that block alone is set back to its start (re-initialisation, Zhang,
    Bengio & Singer 2022; the loss at alpha = 0 of Chatterji et al. 2020). NaN if both ends are infinite.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, losses[..., 0] - losses[..., -1])


@dataclass(frozen=True)
class Bump:
    """A stretch above where it began: from alpha `start`, `width` (alpha) wide, `height` (unit of the losses) high."""

    start: float
    width: float
    height: float


def bumps(alphas: ArrayLike, losses: ArrayLike, *, published: bool = False) -> list[Bump]:
    """The bumps of one curve, losses ``(n,)``, from left to right (Lucas et al. 2021).

    A bump starts where the loss begins to rise and ends where it first falls strictly below the loss at
    the start, else at alpha = 1. Its height is its highest loss minus the loss at its start, so that the
    highest bump is `min_delta`. A NaN counts as a rise of unknown height: a bump with a NaN has height NaN.

    The authors' released code forgets a bump that starts at the last point but one, as in losses
    4, 3, 2, 1, 1.5. `published` forgets it too: for comparison with their tables only.

    Raises:
        AlphaError: as all statistics, and for more than one curve.
    """
    alphas, losses = segment(alphas, losses)
    if losses.ndim != 1:
        raise AlphaError(f"Losses of shape {losses.shape} are many curves. Bumps are listed for one curve at a time.")
    last = alphas.size - 1
    listed = []
    k = 0
    while k < last:
        if losses[k + 1] <= losses[k]:
            k += 1
            continue
        below = np.flatnonzero(losses[k + 1 :] < losses[k])
        end = k + 1 + int(below[0]) if below.size else last
        stretch = losses[k : end + 1]
        if not (published and k == last - 1):
            height = float(np.max(_above(stretch, losses[k])))
            listed.append(Bump(float(alphas[k]), float(alphas[end] - alphas[k]), height))
        k = end
    return listed


# -- course ------------------------------------------------------------------------------------------------------


def monotone_fraction(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The fraction of steps between neighbouring alphas on which the loss does not rise (Lim et al. 2024).

    1 means monotone. It counts steps, not their size: on a plateau noise alone makes it about one half.
    """
    _, losses = segment(alphas, losses)
    return _finish(losses, np.mean(losses[..., 1:] <= losses[..., :-1], axis=-1))


@_infinite
def convexity(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The fraction of inner points on or below the straight line through their two neighbours (Lim et al. 2024).

    On or below that line, up to rounding, is a non-negative second divided difference, also on an unequal
    grid. 1 means convex. `AlphaError` without a point inside.
    """
    alphas, losses = segment(alphas, losses)
    middle = _interior(alphas, losses)[1]
    steps = np.diff(alphas)
    weight = steps[:-1] / (steps[:-1] + steps[1:])
    line = losses[..., :-2] * (1 - weight) + losses[..., 2:] * weight
    slack = _ROUNDING * np.maximum(np.abs(losses[..., :-2]), np.abs(losses[..., 2:]))
    return _finish(losses, np.mean(middle <= line + slack, axis=-1))


@_infinite
def fraction_below_chord(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The fraction of inner points on or below the chord from L(0) to L(1) (Lim et al. 2024), up to rounding.

    1 for a convex curve, a straight one included. NaN if an end is infinite. `AlphaError` without a
    point inside.
    """
    alphas, losses = segment(alphas, losses)
    _, middle = _interior(alphas, losses)
    ends = losses[..., [0, -1]]
    highest = chord(alphas, losses)[..., 1:-1] + _ROUNDING * np.max(np.abs(ends), axis=-1, keepdims=True)
    return _finish(losses, np.where(np.isinf(ends).any(axis=-1), np.nan, np.mean(middle <= highest, axis=-1)))


def area(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The integral of L from 0 to 1 by the trapezoid rule: the mean loss along the line; a height."""
    alphas, losses = segment(alphas, losses)
    return _finish(losses, np.sum((losses[..., 1:] + losses[..., :-1]) / 2 * np.diff(alphas), axis=-1))


def position_of_max(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The alpha of the highest loss, ends included; the first of several."""
    alphas, losses = segment(alphas, losses)
    return _finish(losses, alphas[np.argmax(losses, axis=-1)])


def peak(alphas: ArrayLike, losses: ArrayLike) -> Any:
    """The alpha at the top of the highest `hump`, the first of several: where to "initialise at the barrier".

    Without a hump (the curve falls, rises, or falls and then rises) the highest inner point. A hump no
    higher than the noise also has a top, so check `hump` first. `AlphaError` without a point inside.
    """
    alphas, losses = segment(alphas, losses)
    inner, middle = _interior(alphas, losses)
    heights = _humps(losses)[..., 1:-1]
    top = np.where(np.max(heights, axis=-1) > 0, np.argmax(heights, axis=-1), np.argmax(middle, axis=-1))
    return _finish(losses, inner[top])


# -- plateaus ----------------------------------------------------------------------------------------------------


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def _longest(alphas: Array, values: Array, low: float, high: float) -> Array:
    """The longest interval of alpha on which the curve, straight between its points, stays in [low, high]."""
    start = values[..., :-1]
    step = np.diff(values, axis=-1)
    crossings = np.stack([(low - start) / step, (high - start) / step])
    within = (values >= low) & (values <= high)
    covered = np.clip(crossings.max(axis=0), 0, 1) - np.clip(crossings.min(axis=0), 0, 1)
    covered = np.where(step == 0, within[..., :-1], np.where(np.isfinite(step), covered, 0.0)) * np.diff(alphas)
    longest = run = np.zeros(values.shape[:-1])
    for k in range(alphas.size - 1):
        run = covered[..., k] + np.where(within[..., k], run, 0.0)
        longest = np.maximum(longest, run)
    return longest


def plateau_loss(alphas: ArrayLike, losses: ArrayLike, chance: float, tolerance: float = 0.1) -> Any:
    """The length of the longest interval of alpha with ``|L(a) - chance| <= tolerance``.

    Between points the curve is taken as straight, so the length does not jump from grid point to grid point. Our own
    formula: Wang et al. (2023) speak of the plateau without defining its length.

    Args:
        alphas: positions ``(n,)``.
        losses: in nats, ``(..., n)``.
        chance: the loss of guessing in nats, ln(classes) for balanced classes.
        tolerance: in nats; the default is 4 % of ln 10.
    """
    alphas, losses = segment(alphas, losses)
    return _finish(losses, _longest(alphas, losses, chance - tolerance, chance + tolerance))


def plateau_error(alphas: ArrayLike, errors: ArrayLike, chance: float, tolerance: float = 0.05) -> Any:
    """The length of the longest interval of alpha with error >= (1 - tolerance) * chance, after Wang et al. (2023).

    Errors above chance count as on the plateau. Between points the curve is taken as straight.

    Args:
        alphas: positions ``(n,)``.
        errors: in %, ``(..., n)``.
        chance: the error of guessing in %, 100 (1 - 1/classes) for balanced classes.
        tolerance: a fraction of `chance`.
    """
    alphas, errors = segment(alphas, errors)
    return _finish(errors, _longest(alphas, errors, (1 - tolerance) * chance, math.inf))


# -- all of them -------------------------------------------------------------------------------------------------

LOSS_STATISTICS: Mapping[str, Statistic] = {
    "barrier_above_chord": barrier_above_chord,
    "barrier_above_mean": barrier_above_mean,
    "barrier_above_max_end": barrier_above_max_end,
    "interior_peak": interior_peak,
    "min_delta": min_delta,
    "hump": hump,
    "tail_rise": tail_rise,
    "area": area,
}
"""The statistics in the unit of the losses: a small change of the curve changes them little, so intervals suit them."""

STATISTICS: Mapping[str, Statistic] = {
    **LOSS_STATISTICS,
    "monotone_fraction": monotone_fraction,
    "convexity": convexity,
    "fraction_below_chord": fraction_below_chord,
    "position_of_max": position_of_max,
    "peak": peak,
}
"""Every statistic that needs nothing but a curve, by name."""


def summary(
    alphas: ArrayLike, losses: ArrayLike, errors: ArrayLike | None = None, classes: int | None = None
) -> dict[str, float]:
    """All statistics of one curve by name; the plateaus have the default tolerances.

    Args:
        alphas: positions ``(n,)``.
        losses: in nats ``(n,)``.
        errors: in % ``(n,)``, for `plateau_error`.
        classes: number of (balanced) classes; without it the plateaus are left out.

    Raises:
        AlphaError: as all statistics, for more than one curve, and without a point inside.
    """
    for curve in (losses, errors):
        if curve is not None and np.ndim(curve) != 1:
            raise AlphaError(f"Losses or errors of shape {np.shape(curve)} are not one curve. Summarise one at a time.")
    values = {name: float(statistic(alphas, losses)) for name, statistic in STATISTICS.items()}
    if classes is not None:
        values["plateau_loss"] = plateau_loss(alphas, losses, math.log(classes))
        if errors is not None:
            values["plateau_error"] = plateau_error(alphas, errors, 100 * (1 - 1 / classes))
    return values
