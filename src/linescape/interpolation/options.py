"""How a path is scanned, as one value: positions, treatments of BatchNorm, fewer passes, where points are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from linescape.errors import AlphaError, check_type
from linescape.evaluation.batchnorm import TREATMENTS, check_treatments
from linescape.interpolation.stopping import Until

MOST = 100_000
"""Positions of a scan: more would take years and fill the memory, and are a slip of the pen."""


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """How a path is scanned: positions, treatments of BatchNorm, and whether with fewer passes.

    With `adaptive`, only the positions are measured that `barrier_above_chord` and `min_delta` need (eight at most); a
    few examples tell which (see `linescape.interpolation.refinement`). Both are then statistics of the measured
    positions, so never above those of the whole grid; statistics of the course (area, fractions of points) are coarse
    on so few. The positions suit the evaluator's first measure (or that of `until`) on all data under all treatments:
    it is better to scan one treatment at a time.

    With `until`, examples are drawn, the same ones at all positions, until the statistics are known closely enough (see
    `linescape.interpolation.stopping`). ``curve.provenance["until"]`` holds their 95 % intervals, which stay valid in
    spite of the stopping. The examples are a random sample with a fixed seed and are kept in memory. Under the
    treatment ``batch`` the value of an example depends on the others in its batch, hence on what was drawn.

    With either, the curve is an ordinary one: all its examples were measured at all its positions.
    ``curve.provenance["passes"]`` counts the forward passes, search and checks included, and those of the whole grid.

    Attributes:
        alphas: number of equally spaced positions from 0 to 1, or the positions; 0 and 1 are added if they are missing.
            50 by default; 101 with `adaptive`, whose cost does not depend on it.
        batchnorm: one treatment of BatchNorm statistics or several, each a separate series; see
            `linescape.evaluation.batchnorm`.
        adaptive: measure only the positions that the barrier and min Delta need.
        until: largest half width of the 95 % intervals, in the unit of the evaluator's first measure, or an `Until`
            that names statistics and measure.
        keep: a folder in which each point of a straight path is saved as soon as it is measured. A scan that was
            stopped continues from there and gives the same bits as one that was not; see
            `linescape.interpolation.resume`. With `adaptive` or `until` nothing is saved.
        progress: whether to draw a progress bar; by default where standard error is a terminal.

    Raises:
        AlphaError: positions are empty, unsorted, repeated, not finite or more than `MOST`; with `adaptive`, some lie
            outside [0, 1].
        MeasureError: there is no treatment, one is unknown, or one is named twice.
        RecipeError: `until` is not a positive width, or something is of another type.
    """

    alphas: int | Sequence[float] | None = None
    batchnorm: str | Sequence[str] = "interpolate"
    adaptive: bool = False
    until: float | Until | None = None
    keep: str | Path | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        check_type(self.batchnorm, Iterable, "batchnorm", f"Give one of {', '.join(TREATMENTS)}, or a list of them.")
        for treatment in self.treatments:
            check_type(treatment, str, "A treatment of BatchNorm", f"Give one of {', '.join(TREATMENTS)}.")
        if self.keep is not None:
            check_type(self.keep, (str, Path), "keep", "Give a folder for the points, or None.")
        check_treatments(self.treatments)
        first, last = self.positions[0], self.positions[-1]
        if self.adaptive and (first < 0 or last > 1):
            raise AlphaError(
                f"The positions run from {first:g} to {last:g}, but adaptive=True chooses from 0 to 1, where the "
                "statistics of a curve are defined. Leave the others out, or scan without adaptive=True."
            )
        _ = self.stopping_rule  # which checks the width

    @cached_property
    def positions(self) -> tuple[float, ...]:
        """The positions, or those to choose from: rising, 0 and 1 among them."""
        return grid((101 if self.adaptive else 50) if self.alphas is None else self.alphas)

    @cached_property
    def treatments(self) -> tuple[str, ...]:
        """The treatments of BatchNorm statistics."""
        return (self.batchnorm,) if isinstance(self.batchnorm, str) else tuple(self.batchnorm)

    @cached_property
    def stopping_rule(self) -> Until | None:
        """`until` with all that it leaves open; None to measure all examples."""
        return self.until if self.until is None or isinstance(self.until, Until) else Until(self.until)

    def check_between(self) -> None:
        """Raise `AlphaError` if no position lies between the two ends: nothing could be said of the line."""
        if not any(0 < alpha < 1 for alpha in self.positions):
            raise AlphaError(
                "There is no position between the two ends, at alpha = 0 and 1, so nothing could be said of the line. "
                "Ask for 3 positions or more; 50 are usual."
            )

    @property
    def economical(self) -> bool:
        """Whether positions or examples are chosen."""
        return self.adaptive or self.until is not None


def grid(alphas: int | Sequence[float]) -> tuple[float, ...]:
    """Positions of a scan: ``linspace(0, 1, alphas)``, or the given ones with 0 and 1 added where missing.

    Raises:
        AlphaError: fewer than two, more than `MOST`, unsorted, repeated, or not finite numbers.
    """
    if isinstance(alphas, int | np.integer):
        _check_count(int(alphas))
        if alphas < 2:
            raise AlphaError(f"alphas={alphas}, but a line has two ends. Ask for 2 positions or more; 50 are usual.")
        return tuple(float(alpha) for alpha in np.linspace(0.0, 1.0, alphas))
    try:
        given = [] if isinstance(alphas, str) else [float(alpha) for alpha in alphas]
    except (TypeError, ValueError) as error:
        raise AlphaError(
            f"alphas is {alphas!r:.60}. Give a whole number of positions, such as 50, or the positions, such as "
            "[0, 0.5, 1]."
        ) from error
    _check_count(len(given))
    if not given:
        raise AlphaError(
            "alphas is empty or a text, so no positions are named. Give a number of positions, such as 50."
        )
    if not all(math.isfinite(alpha) for alpha in given):
        raise AlphaError(f"alphas holds NaN or infinity: {given}. Give finite positions; 0 is the start, 1 the end.")
    if any(right <= left for left, right in pairwise(given)):
        raise AlphaError(f"alphas does not rise strictly: {given}. Sort it and drop repeated positions.")
    return tuple(sorted({0.0, 1.0, *given}))


def _check_count(count: int) -> None:
    if count > MOST:
        raise AlphaError(
            f"alphas asks for {count:,} positions, and {MOST:,} are the most: each is a pass over all data, whose "
            "values are kept. 50 are usual; adaptive=True finds the positions that matter among many."
        )


DEFAULT = ScanOptions()
"""50 equally spaced positions, all examples, interpolated BatchNorm statistics."""
