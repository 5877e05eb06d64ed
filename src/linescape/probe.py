"""Two networks in, everything about the line between them out: curves, shape numbers with intervals, distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from linescape.curve import Curve
from linescape.evaluate import Evaluator
from linescape.groups import Groups
from linescape.paths import Line, Only
from linescape.scan import scan
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

    def heights(self) -> Iterator[tuple[str, str, str, str, str, Estimate]]:
        """(line, data, measure, batchnorm, name, number with 95 % interval over examples) of each shape number."""
        for label, curve in self.curves.items():
            for series in curve:
                if series.values.shape[1] < 2:
                    continue
                for name, found in estimates(series.alphas, series.values, HEIGHTS).items():
                    yield label, series.data, series.measure, series.batchnorm, name, found


def probe(
    start: State,
    end: State,
    evaluator: Evaluator,
    groups: Groups | None = None,
    alphas: int | Sequence[float] = 50,
    batchnorm: str | Sequence[str] = "interpolate",
    progress: bool | None = None,
) -> Probe:
    """Walk the whole line and each group's layer-wise line; arguments as for `scan` and `groups`.

    Raises:
        StateError, AlphaError, GroupError, EndsError, DataError, MeasureError: as the steps that it takes.
    """
    line = Line(start, end)
    paths = {WHOLE: line} | {label: Only(line, names) for label, names in (groups or {}).items()}
    curves = {label: scan(path, evaluator, alphas, batchnorm, progress) for label, path in paths.items()}
    return Probe(curves, distances(start, end, groups), tuple(curves[WHOLE].provenance["notes"]))
