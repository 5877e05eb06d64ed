"""The measures of `linescape.evaluation.measures` by name."""

from __future__ import annotations

from collections.abc import Collection

from linescape.errors import MeasureError, suggest
from linescape.evaluation import measures as known
from linescape.evaluation.measures import Measure

_MEASURES: dict[str, Measure] = {
    "cross_entropy": known.cross_entropy,
    "error": known.error,
    "binary_cross_entropy": known.binary_cross_entropy,
    "binary_error": known.binary_error,
    "squared_error": known.squared_error,
}


def measures_named(names: Collection[str]) -> list[Measure]:
    """Measures by their names.

    Raises:
        MeasureError: there is no such measure.
    """
    for name in names:
        if name not in _MEASURES:
            raise MeasureError(f"There is no measure {name!r}. {suggest(name, _MEASURES)}")
    return [_MEASURES[name] for name in names]
