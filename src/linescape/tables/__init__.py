"""A study's results as data frames: what was measured, a row for each run, line, position or arm.

Null means not measured (yet), NaN measured but not a number. Nothing is left out silently: a run without results
has a row with its status, a line that is not walked is named in its run's `missing`.

`results` reads a store, `arms` sums up runs.
"""

from linescape.tables.arms import (
    TOLERANCE,
    accuracy,
    comparable,
    means,
    not_monotone,
    partial,
    rising,
    shapes,
)
from linescape.tables.results import SHAPES, Results, Source, classes, kind, read, test_set

__all__ = [
    "SHAPES",
    "TOLERANCE",
    "Results",
    "Source",
    "accuracy",
    "classes",
    "comparable",
    "kind",
    "means",
    "not_monotone",
    "partial",
    "read",
    "rising",
    "shapes",
    "test_set",
]
