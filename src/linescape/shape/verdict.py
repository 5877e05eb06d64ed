"""Is there a barrier on a line, as far as its examples tell: the verdict on one curve, as data.

What decides is `hump`, the height of the largest rise that is followed by a fall, since it is right for every line.
Between trained networks of like loss it is the height above the higher end, and nowhere below that. From a random
initialisation it counts no plateau and no late fall, as the height above the chord does, but counts a rise that stays
below the start. The height above the chord (Entezari et al. 2022), which is given beside it, is above it by at most the
difference between the ends.

- ``barrier``: `Verdict.at_least` is above 0, and the hump is at least the smallest effect of interest.
- ``no barrier``: `Verdict.at_least` is not above 0, and `Verdict.at_most` is at most the smallest effect.
- ``small rise``: `Verdict.at_least` is above 0, and `Verdict.at_most` is at most the smallest effect.
- ``inconclusive``: everything else, or there is no interval.
- ``undefined``: the mean is NaN or infinite somewhere on the line.

That a hump is small is a claim about examples that nobody has seen, and resampling those that were seen does not show
how rare others behave: of 30 examples that are right everywhere, every resample has an error of 0, but one in nine of
the population could still be wrong somewhere. So `Verdict.at_most` adds to the interval the largest share of a
population that a sample can miss altogether, 1 - 0.025^(1/examples), times how far an example can rise: as far as the
measure allows, or else as the worst that was seen.

That there is a hump is such a claim too. Networks that are sure of themselves lose much on a few examples, and less of
it between them, so that most examples rise a little and rare ones fall far. `Verdict.at_least` takes off the interval
the same share times how far the worst example that was seen falls. Rare examples of which none was seen stay unknown,
and of losses nothing bounds them: docs/statistics.md says how often verdicts are wrong in simulations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from linescape.errors import AlphaError
from linescape.shape.intervals import Estimate, estimate, estimates
from linescape.shape.statistics import (
    Array,
    Statistic,
    barrier_above_chord,
    barrier_above_max_end,
    hump,
    segment,
    tail_rise,
)

Kind = Literal["barrier", "no barrier", "small rise", "inconclusive", "undefined"]

HEIGHTS: Mapping[str, Statistic] = {
    "hump": hump,
    "barrier_above_chord": barrier_above_chord,
    "barrier_above_max_end": barrier_above_max_end,
    "tail_rise": tail_rise,
}
"""What a verdict says of a line, by the name of its statistic."""

WIDE_GAP = 0.1
"""Positions that lie further apart than this may have a barrier between them that nobody would see."""


LEAST_EXAMPLES = 200
"""Fewer never show that there is no barrier: 1.8 % of the population can be unlike all of 200 examples, also where
these have exactly the same loss everywhere."""

FEWEST_EXAMPLES = 6
"""Fewer never show that there is a barrier: of 5, all rise in 1 of 32 samples where half of the population does."""

_LIFT = 1.6
"""How far noise lifts the highest of many positions, in half widths of an interval; in simulations of two seeds."""


@dataclass(frozen=True)
class Place:
    """A position on a line and the mean of the measure there."""

    alpha: float
    value: float


@dataclass(frozen=True)
class Verdict:
    """Whether there is a barrier on a line, and where; heights and values have the unit of the measure.

    Attributes:
        kind: see the module.
        smallest_effect: heights up to this one matter to nobody.
        heights: each of `HEIGHTS` with its interval.
        at_least: how high the hump is at least, at the lower end of its interval and with examples that were not seen.
        largest_fall: how far the example falls that does so most, where the hump is.
        at_most: how high the hump is at most, at the upper end of its interval and with examples that were not seen.
        places: ``start`` and ``end``; ``top`` of the hump, else where the line is highest above its chord; the lowest
            points ``before`` and ``after`` that; the ``lowest`` of all; and the ``middle``, straight between
            `beside_middle` where it was not measured.
        examples: how many were measured.
        more_examples: a rough estimate of how many more would decide; None if that is decided, or cannot be estimated.
        positions: how many were measured, both ends included.
        widest_gap: the largest distance in alpha between neighbouring positions.
        not_finite: examples that are NaN or infinite somewhere on the line.
        where_not_finite: the first and last position at which one is; None if there is none.
        beside_middle: the measured positions on both sides of alpha = 0.5; None if it was measured itself.
    """

    kind: Kind
    smallest_effect: float
    heights: Mapping[str, Estimate]
    at_least: float
    largest_fall: float
    at_most: float
    places: Mapping[str, Place]
    examples: int
    more_examples: int | None
    positions: int
    widest_gap: float
    not_finite: int
    where_not_finite: tuple[float, float] | None
    beside_middle: tuple[float, float] | None

    @property
    def middle_is_known(self) -> bool:
        """Whether the middle was measured, or positions on both sides that are no further apart than `WIDE_GAP`."""
        below, above = self.beside_middle or (0.5, 0.5)
        return above - below <= WIDE_GAP * (1 + 1e-9)

    @property
    def height(self) -> Estimate:
        """The height that decides: of the hump."""
        return self.heights["hump"]


def judge(
    alphas: ArrayLike,
    values: ArrayLike,
    smallest_effect: float,
    largest_rise: float | None = None,
    known: Mapping[str, Estimate] | None = None,
    level: float = 0.95,
) -> Verdict:
    """The verdict on one curve.

    Args:
        alphas: positions ``(n,)``; only those from 0 to 1 count.
        values: per-example values ``(n, examples)``, of which less is better.
        smallest_effect: heights up to this one, in the unit of the values, matter to nobody.
        largest_rise: how far the value of one example can rise at all: 100 for an error in %; None if that is unknown.
        known: estimates of `HEIGHTS` that were made already, at the same level.
        level: of the intervals.

    Raises:
        AlphaError: as all statistics, and where values are not one for each alpha and example.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2:
        raise AlphaError(f"Values of shape {values.shape}: pass one for each alpha and example, (alphas, examples).")
    alphas, losses = segment(alphas, values.T)
    mean, examples = losses.mean(axis=0), len(losses)
    odd = ~np.isfinite(losses)
    where = alphas[odd.any(axis=0)]
    places = _places(alphas, mean)
    if examples < 2:
        heights = {name: _without(function(alphas, mean), level) for name, function in HEIGHTS.items()}
    else:
        heights = dict(known or estimates(alphas, losses.T, HEIGHTS, level=level))
    kind: Kind = "undefined"
    at_least = at_most = largest_fall = math.nan
    if np.isfinite(mean).all():
        share = unseen(examples, level)
        largest_fall = _largest_fall(alphas, losses, places)
        if largest_rise is None:
            largest_rise = float(np.max(hump(alphas, losses)))
        at_least = heights["hump"].low - share * largest_fall
        at_most = heights["hump"].high + share * largest_rise
        kind = _kind(heights["hump"], at_least, at_most, smallest_effect, examples)
    return Verdict(
        kind=kind,
        smallest_effect=float(smallest_effect),
        heights={name: heights[name] for name in HEIGHTS},
        at_least=at_least,
        largest_fall=largest_fall,
        at_most=at_most,
        places=places,
        examples=examples,
        more_examples=(
            _more(heights["hump"], at_least, at_most, smallest_effect, examples) if kind == "inconclusive" else None
        ),
        positions=alphas.size,
        widest_gap=float(np.diff(alphas).max()),
        not_finite=int(odd.any(axis=1).sum()),
        where_not_finite=(float(where[0]), float(where[-1])) if where.size else None,
        beside_middle=_beside_middle(alphas),
    )


def gain(alphas: ArrayLike, values: ArrayLike, level: float = 0.95) -> Estimate:
    """How far the lowest point of a line lies below both of its ends; 0 where an end is the lowest.

    The interval allows for the choice of the lowest of many positions; of one example there is none.

    Args:
        alphas: positions ``(n,)``; only those from 0 to 1 count.
        values: per-example values ``(n, examples)``, of which less is better.
        level: of the interval.

    Raises:
        AlphaError: as all statistics.
    """
    below = -np.asarray(values, np.float64)  # the lowest point below both ends is the highest above them, upside down
    if below.shape[-1] < 2:
        return _without(barrier_above_max_end(alphas, below.mean(axis=-1)), level)
    return estimate(alphas, below, barrier_above_max_end, level=level)


def unseen(examples: int, level: float = 0.95) -> float:
    """The largest share of a population that more than (1 - level) / 2 of samples have no example of.

    Args:
        examples: in a sample.
        level: of an interval.
    """
    return 1.0 - math.pow((1 - level) / 2, 1 / examples)


def _kind(height: Estimate, at_least: float, at_most: float, smallest_effect: float, examples: int) -> Kind:
    if at_most <= smallest_effect and examples >= LEAST_EXAMPLES:
        return "small rise" if at_least > 0 else "no barrier"
    told = at_least > 0 and examples >= FEWEST_EXAMPLES
    return "barrier" if told and height.value >= smallest_effect else "inconclusive"


def _largest_fall(alphas: Array, losses: Array, places: Mapping[str, Place]) -> float:
    """How far an example falls at most from where the line is low, before or after its top, to the top."""
    before, top, after = (losses[:, alphas == places[name].alpha][:, 0] for name in ("before", "top", "after"))
    return max(0.0, float(np.max(np.maximum(before, after) - top)))


def _more(height: Estimate, at_least: float, at_most: float, smallest_effect: float, examples: int) -> int | None:
    """How many more examples would decide if the height is what it seems and intervals shrink with their root."""
    if height.value >= smallest_effect:  # to tell it from 0; its lower end stops there, so the upper one counts too
        margin = max(_LIFT * max(height.value - height.low, height.high - height.value), height.value - at_least)
        room, least = height.value, FEWEST_EXAMPLES
    else:
        margin, room, least = at_most - height.value, smallest_effect - height.value, LEAST_EXAMPLES
    if not (room > 0 and math.isfinite(margin)):
        return None
    return math.ceil(max(examples * (margin / room) ** 2, 1.25 * examples, least)) - examples


def _beside_middle(alphas: Array) -> tuple[float, float] | None:
    if np.isclose(alphas, 0.5, rtol=0, atol=1e-6).any():
        return None
    return float(alphas[alphas < 0.5][-1]), float(alphas[alphas > 0.5][0])


def _places(alphas: Array, mean: Array) -> dict[str, Place]:
    def place(index: int) -> Place:
        return Place(float(alphas[index]), float(mean[index]))

    last = alphas.size - 1
    places = {"start": place(0), "end": place(last), "middle": Place(0.5, float(np.interp(0.5, alphas, mean)))}
    if not np.isfinite(mean).all():
        return places
    before, after = np.minimum.accumulate(mean), np.minimum.accumulate(mean[::-1])[::-1]
    rises = mean - np.maximum(before, after)
    above = mean - (mean[0] * (1 - alphas) + mean[-1] * alphas)
    top = int(np.argmax(rises if rises.max() > 0 else above))
    return places | {
        "top": place(top),
        "before": place(int(np.argmin(mean[: top + 1]))),
        "after": place(top + int(np.argmin(mean[top:]))),
        "lowest": place(int(np.argmin(mean))),
    }


def _without(value: float, level: float) -> Estimate:
    """A value without an interval."""
    return Estimate(value, math.nan, math.nan, level)
