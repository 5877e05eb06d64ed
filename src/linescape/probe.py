"""Two networks in, everything about the line between them out: curves, shape numbers with intervals, distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from linescape.curve import Curve
from linescape.evaluate import Evaluator
from linescape.groups import Groups
from linescape.paths import Line, Only
from linescape.scan import scan
from linescape.sequential import LEVEL, Until
from linescape.shape import HEIGHTS, Estimate, estimates
from linescape.space import Distance, State, distances

WHOLE = "whole"
"""The label of the line of the whole network."""


@dataclass(frozen=True, eq=False)
class Probe:
    """The line between two networks.

    Attributes:
        curves: the line of the whole network under ``whole``, then each group's layer-wise line (the other groups at
            the end's state).
        distances: from start to end, of all parameters (``all``) and of each group.
        notes: what a reader should know, in words.
    """

    curves: Mapping[str, Curve]
    distances: Mapping[str, Distance]
    notes: tuple[str, ...] = ()

    @cached_property
    def heights(self) -> Mapping[tuple[str, str, str, str], Mapping[str, Estimate]]:
        """(line, data, measure, batchnorm) -> each height by name, with its 95 % interval over examples.

        Where examples were drawn until a height was known closely enough, its interval is the one that the stopping
        does not spoil. Series of a single example have no interval and are left out.
        """
        found = {}
        for label, curve in self.curves.items():
            stated = curve.provenance.get("until", {}).get("intervals", {})
            for series in curve:
                if series.values.shape[1] > 1:
                    key = (series.data, series.measure, series.batchnorm)
                    kept = stated.get("/".join(key), {}).items()
                    sequential = {name: Estimate(value, low, high, LEVEL) for name, (value, low, high) in kept}
                    found[label, *key] = estimates(series.alphas, series.values, HEIGHTS) | sequential
        return found


def probe(
    start: State,
    end: State,
    evaluator: Evaluator,
    groups: Groups | None = None,
    alphas: int | Sequence[float] | None = None,
    batchnorm: str | Sequence[str] = "interpolate",
    progress: bool | None = None,
    adaptive: bool = False,
    until: float | Until | None = None,
) -> Probe:
    """Walk the whole line and each group's layer-wise line; arguments as for `scan` and `groups`.

    Raises:
        StateError, AlphaError, GroupError, EndsError, DataError, MeasureError, RecipeError: as the steps that it takes.
    """
    line = Line(start, end)
    paths = {WHOLE: line} | {label: Only(line, names) for label, names in (groups or {}).items()}
    curves = {
        label: scan(path, evaluator, alphas, batchnorm, progress, adaptive, until) for label, path in paths.items()
    }
    return Probe(curves, distances(start, end, groups), tuple(curves[WHOLE].provenance["notes"]))
