"""When to stop drawing examples: as soon as the numbers asked for are known closely enough, and honestly so.

Examples are drawn in a few instalments, the same ones at all alphas, and after each the intervals are looked at.
Looking often and stopping at a good moment spoils an interval: at every look there is a chance that it misses the
truth, and one look at which it happens to be narrow is enough. So the 5 % that a 95 % interval may miss are divided
beforehand over the `SPENT` looks, and the intervals of all looks together hold with 95 %, whatever made one stop
(Bonferroni; alpha spending: Lan & DeMets 1983, Biometrika 70). Most is left for the second look, at which it usually
ends: its size is worked out from the width found at the first. What is stated is therefore a 95 % interval, though it
is cut from the resamples at a higher level. (Without this care, intervals of a fixed width are right in the limit of
small widths only: Chow & Robbins 1965, Ann. Math. Stat. 36.)

The intervals themselves are those of `linescape.shape.intervals`, with their limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from linescape.errors import RecipeError, suggest
from linescape.interpolation.curve import Key
from linescape.shape import LOSS_STATISTICS, Estimate, estimates

LEVEL = 0.95

SPENT = (0.005, 0.025, 0.010, 0.005, 0.005)
"""The chance of a miss that each look may take; together 1 - `LEVEL`. The last look has all examples."""

FIRST = 250
"""Examples of the first instalment: fewer show too little of how unequal losses are."""

MARGIN = 1.15
"""How many times the examples that seem to be needed are drawn, since that need is itself an estimate."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Until:
    """Stop drawing examples when the 95 % intervals are no wider than +- `within`.

    Attributes:
        within: half the width of the widest interval, in the unit of the measure (nats for cross entropy, % for error).
        heights: which numbers, of `linescape.shape.LOSS_STATISTICS`.
        measure: of which measure; the evaluator's first by default. All data and treatments of BatchNorm must do.

    Raises:
        RecipeError: `within` is not a positive number, or a height is unknown.
    """

    within: float
    heights: tuple[str, ...] = ("barrier_above_chord", "min_delta")
    measure: str | None = None

    def __post_init__(self) -> None:
        if not (self.within > 0 and math.isfinite(self.within)):
            raise RecipeError(
                f"until={self.within} is no half width of an interval. Give a positive number in the unit of the "
                "measure, such as 0.01 for 0.01 nats."
            )
        for height in self.heights:
            if height not in LOSS_STATISTICS:
                raise RecipeError(f"There is no height {height!r} to be sure of. {suggest(height, LOSS_STATISTICS)}")
        if not self.heights:
            raise RecipeError("until= names no height, so nothing would ever be known closely enough. Name one.")


@dataclass(frozen=True)
class Look:
    """What was seen after an instalment.

    Attributes:
        examples: how many each of the data had then at most.
        intervals: series -> height -> its interval, at the level of this look.
        half: half the width of the widest interval; NaN where a number is NaN or infinite.
    """

    examples: int
    intervals: Mapping[Key, Mapping[str, Estimate]]
    half: float


def look(alphas: ArrayLike, values: Mapping[Key, ArrayLike], heights: Sequence[str], number: int) -> Look:
    """Look at the intervals for the `number`-th time (from 0).

    Args:
        alphas: positions ``(m,)``.
        values: series -> per-example values ``(m, examples)``.
        heights: names of the numbers.
        number: index into `SPENT`.

    Raises:
        DataError: there are fewer than two examples.
    """
    functions = {name: LOSS_STATISTICS[name] for name in heights}
    level = 1 - SPENT[number]
    found = {
        key: estimates(alphas, held, functions, resamples=RESAMPLES, level=level, seed=number)
        for key, held in values.items()
    }
    halves = [(each.high - each.low) / 2 for numbers in found.values() for each in numbers.values()]
    most = max(np.shape(held)[1] for held in values.values())
    return Look(most, found, max(halves) if all(map(math.isfinite, halves)) else math.nan)


def more(looks: Sequence[Look], within: float, total: int) -> int | None:
    """How many examples to have at the next look; None to stop.

    It stops when the last look was close enough, when all `total` examples are drawn, and when a number is NaN or
    infinite, for more examples would not change that.
    """
    if not looks:
        return min(FIRST, total)
    last = looks[-1]
    if math.isnan(last.half) or last.half <= within or last.examples >= total or len(looks) == len(SPENT):
        return None
    if len(looks) == len(SPENT) - 1:
        return total
    wider = _quantile(len(looks)) / _quantile(len(looks) - 1)
    needed = MARGIN * last.examples * (wider * last.half / within) ** 2
    return min(total, math.ceil(max(min(needed, total), 1.25 * last.examples)))


def _quantile(number: int) -> float:
    return NormalDist().inv_cdf(1 - SPENT[number] / 2)
