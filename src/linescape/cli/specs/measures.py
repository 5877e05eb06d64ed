"""Measures by the names that are typed."""

from __future__ import annotations

from collections.abc import Sequence

from linescape.evaluation.measures import Measure
from linescape.evaluation.named import by_name


def measures_named(names: Sequence[str]) -> list[Measure]:
    """Measures by their names.

    Raises:
        MeasureError: there is no such measure.
    """
    return list(by_name(names).values())
