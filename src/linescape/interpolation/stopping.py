"""When to stop drawing examples: as soon as the statistics are known closely enough, with intervals that stay valid.

Examples are drawn in a few instalments, the same ones at all alphas, and the intervals are computed after each.
Computing them often and stopping at a good moment spoils an interval: at every interim look there is a chance that it
misses the truth, and one look at which it happens to be narrow is enough. So the 5 % that a 95 % interval may miss are
divided beforehand over the `SPENT` looks, and the intervals of all looks together hold with 95 %, whatever made one
stop (Bonferroni; alpha spending: Lan & DeMets 1983, Biometrika 70). Most is left for the second look, which is usually
the last: its size follows from the width at the first. The interval that is stated is therefore a 95 % interval,
although it is computed from the resamples at a higher level. (Without this care, intervals of a fixed width are right
in the limit of small widths only: Chow & Robbins 1965, Ann. Math. Stat. 36.)

The intervals themselves are those of `linescape.shape.intervals`, with their limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from linescape.errors import RecipeError, check_type, suggest
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
        statistics: names in `linescape.shape.LOSS_STATISTICS`.
        measure: of which measure; the evaluator's first by default. The intervals must be narrow enough on all data
            and under all treatments of BatchNorm.

    Raises:
        RecipeError: `within` is not a positive number, or a statistic is unknown.
    """

    within: float
    statistics: tuple[str, ...] = ("barrier_above_chord", "min_delta")
    measure: str | None = None

    def __post_init__(self) -> None:
        check_type(self.within, Real, "until", "Give half the width of the intervals, such as 0.01 for 0.01 nats.")
        names = self.statistics
        check_type(names, (tuple, list), "statistics", f"Give a list of names, such as {tuple(LOSS_STATISTICS)[:1]}.")
        if self.measure is not None:
            check_type(self.measure, str, "measure", "Give the name of one of the evaluator's measures.")
        if not (self.within > 0 and math.isfinite(self.within)):
            raise RecipeError(
                f"until={self.within} is no half width of an interval. Give a positive number in the unit of the "
                "measure, such as 0.01 for 0.01 nats."
            )
        for name in self.statistics:
            if name not in LOSS_STATISTICS:
                raise RecipeError(
                    f"Examples cannot be drawn until {name!r} is known: there is no such statistic. "
                    f"{suggest(name, LOSS_STATISTICS)}"
                )
        if not self.statistics:
            raise RecipeError("until= names no statistic, so there is nothing to know more closely. Name one.")


@dataclass(frozen=True)
class InterimLook:
    """The intervals after an instalment.

    Attributes:
        examples: how many had been drawn by then, of the data that have most.
        intervals: series -> statistic -> its interval, at the level of this look.
        half_width: of the widest interval; NaN where a statistic is NaN or infinite.
    """

    examples: int
    intervals: Mapping[Key, Mapping[str, Estimate]]
    half_width: float


def look(alphas: ArrayLike, values: Mapping[Key, ArrayLike], statistics: Sequence[str], number: int) -> InterimLook:
    """Compute the intervals for the `number`-th time (from 0).

    Args:
        alphas: positions ``(m,)``.
        values: series -> per-example values ``(m, examples)``.
        statistics: names in `linescape.shape.LOSS_STATISTICS`.
        number: index into `SPENT`.

    Raises:
        DataError: there are fewer than two examples.
    """
    functions = {name: LOSS_STATISTICS[name] for name in statistics}
    level = 1 - SPENT[number]
    intervals = {
        key: estimates(alphas, series, functions, resamples=RESAMPLES, level=level, seed=number)
        for key, series in values.items()
    }
    halves = [(each.high - each.low) / 2 for by_name in intervals.values() for each in by_name.values()]
    most = max(np.shape(series)[1] for series in values.values())
    return InterimLook(most, intervals, max(halves) if all(map(math.isfinite, halves)) else math.nan)


def level_of_others(provenance: Mapping[str, object]) -> float:
    """The level at which to compute an interval that is to hold with `LEVEL`, of what no look was about.

    Drawing may have stopped at any look, so where examples were drawn until something was known, an interval has to
    hold at each of them: at the level of the strictest look all together miss in less than 1 - `LEVEL`.

    Args:
        provenance: of the curve.
    """
    return 1 - min(SPENT) if "until" in provenance else LEVEL


def next_sample_size(looks: Sequence[InterimLook], within: float, total: int) -> int | None:
    """How many examples to have at the next look; None to stop.

    Drawing stops when the last intervals are narrow enough, when all `total` examples are drawn, and when a statistic
    is NaN or infinite, which more examples would not change.
    """
    if not looks:
        return min(FIRST, total)
    last = looks[-1]
    if math.isnan(last.half_width) or last.half_width <= within or last.examples >= total or len(looks) == len(SPENT):
        return None
    if len(looks) == len(SPENT) - 1:
        return total
    wider = _quantile(len(looks)) / _quantile(len(looks) - 1)
    needed = MARGIN * last.examples * (wider * last.half_width / within) ** 2
    return min(total, math.ceil(max(min(needed, total), 1.25 * last.examples)))


def _quantile(number: int) -> float:
    return NormalDist().inv_cdf(1 - SPENT[number] / 2)
