"""Measures by the names that are typed, and which of their effects are of interest."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from linescape.errors import RecipeError
from linescape.evaluation.measures import Measure
from linescape.evaluation.named import by_name
from linescape.interpolation import summary


def measures_named(names: Sequence[str]) -> list[Measure]:
    """Measures by their names.

    Raises:
        MeasureError: there is no such measure.
    """
    return list(by_name(names).values())


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
