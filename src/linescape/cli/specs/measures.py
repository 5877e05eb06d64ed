"""The measures of `linescape.evaluation.measures` by name, and which of their effects are of interest."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from linescape.errors import MeasureError, RecipeError, suggest
from linescape.evaluation import measures as known
from linescape.evaluation.measures import Measure
from linescape.interpolation import summary

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


def smallest_effects(words: Collection[str], measures: Sequence[str]) -> dict[str, float]:
    """Effects by measure: ``error=0.5``, or ``0.02`` for the loss.

    Raises:
        RecipeError: it is not a positive number.
        MeasureError: its measure is not among `measures`.
    """
    effects = {}
    for text in words:
        name, _, amount = text.rpartition("=")
        try:
            effects[name or summary.loss_of(measures)] = float(amount)
        except ValueError as error:
            raise RecipeError(
                f"--smallest-effect {text!r} is no number. Write 0.02 for the loss, or MEASURE=HEIGHT."
            ) from error
    summary.smallest_effects(effects, measures)
    return effects
