"""A study's results as data frames, with a row for each run, line, position or arm.

Null means not measured (yet), NaN measured but not a number. Nothing is dropped silently: a run without results has a
row with its status, and its column `missing` names the lines that are not evaluated.

`results` reads a store, `arms` summarises runs, `layerwise` layer-wise lines, `trainings` checks that arms are what
they are called, `published` compares with published results.
"""

from linescape.analysis.tables.arms import accuracy, comparable, means, not_monotone, partial, rising, shapes
from linescape.analysis.tables.layerwise import LAYERWISE, blocks
from linescape.analysis.tables.published import published_accuracies, published_points, published_ranges
from linescape.analysis.tables.results import DEFINITIONS, LEARNT, Results, classes, kind, read, test_set
from linescape.analysis.tables.source import Source
from linescape.analysis.tables.trainings import decays, learnt, not_learnt
from linescape.shape import TOLERANCE

__all__ = [
    "DEFINITIONS",
    "LAYERWISE",
    "LEARNT",
    "TOLERANCE",
    "Results",
    "Source",
    "accuracy",
    "blocks",
    "classes",
    "comparable",
    "decays",
    "kind",
    "learnt",
    "means",
    "not_learnt",
    "not_monotone",
    "partial",
    "published_accuracies",
    "published_points",
    "published_ranges",
    "read",
    "rising",
    "shapes",
    "test_set",
]
