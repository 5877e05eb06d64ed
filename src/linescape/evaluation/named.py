"""Measures by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from linescape.errors import MeasureError, suggest
from linescape.evaluation import measures
from linescape.evaluation.measures import (
    Measure,
    binary_cross_entropy,
    binary_error,
    cross_entropy,
    error,
    squared_error,
)

MEASURES: Mapping[str, Measure] = {
    measure.__name__: measure for measure in (cross_entropy, error, binary_cross_entropy, binary_error, squared_error)
}
"""The measures of `linescape.evaluation.measures` by name."""


def by_name(given: Sequence[Measure | str] | Mapping[str, Measure | str]) -> dict[str, Measure]:
    """Measures by name: those of a mapping, else their own; a lambda has none, and is ``measure_1`` by its place.

    Args:
        given: functions, or names of those in `MEASURES`.

    Raises:
        MeasureError: there is none, a name is unknown or that of two, or one is neither a function nor a name.
    """
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise MeasureError(
            f"The measures are a {type(given).__name__}, not a list. Give a list of measures or of their names, or a "
            "dictionary {name: function}."
        )
    functions = [_function(measure) for measure in (given.values() if isinstance(given, Mapping) else given)]
    names = list(given) if isinstance(given, Mapping) else [_own(*each) for each in enumerate(functions, 1)]
    if not names or len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
        raise MeasureError(
            f"The measures are named {names}; each needs a name of its own, and there must be one. Give a dictionary "
            "{name: function}."
        )
    return {name: measures.fixed(of) for name, of in zip(names, functions, strict=True)}


def _function(measure: Measure | str) -> Measure:
    if isinstance(measure, str):
        if measure not in MEASURES:
            raise MeasureError(f"There is no measure {measure!r}. {suggest(measure, MEASURES)}")
        return MEASURES[measure]
    if not callable(measure) or isinstance(measure, type):
        raise MeasureError(
            f"The measure {measure!r} is not a function of (outputs, targets). Give such a function, or the name of "
            f"one: {', '.join(MEASURES)}."
        )
    return measure


def _own(place: int, measure: Measure) -> str:
    name = measures.name(measure)
    return f"measure_{place}" if name == "<lambda>" else name
