"""Columns of the tables on a study's page."""

from __future__ import annotations

from linescape.report.page import Column
from linescape.shape.definitions import DEFINITIONS, DISTANCES

ACCURACY = [
    Column("group", "group", "once"),
    Column("title", "arm"),
    Column("n", "runs", "number", 0),
    Column("diverged", "diverged", "number", 0),
    Column("mean", "mean, %", "number"),
    Column("deviation", "s.d.", "number"),
    Column("low", "95 % interval", "interval", to="high"),
    Column("baseline", "baseline"),
    Column("difference", "difference, points", "signed"),
    Column("difference_low", "95 % interval", "interval", to="difference_high"),
]

SHAPE = [
    Column("group", "group", "once"),
    Column("title", "arm"),
    Column("not_monotone_of", "any rise"),
    Column("rising_of", "rising"),
    *(
        Column(
            name,
            f"{DEFINITIONS[name].label}{f', {DEFINITIONS[name].unit}' if DEFINITIONS[name].unit else ''}",
            "number",
        )
        for name in (
            "min_delta",
            "hump",
            "tail_rise",
            "interior_peak",
            "barrier_above_chord",
            "plateau_loss",
            "area",
        )
    ),
]

PARTIAL = [
    Column("title", "arm"),
    Column("reset", "reinitialised"),
    Column("n", "runs", "number", 0),
    Column("mean", "mean, %", "number"),
    Column("deviation", "s.d.", "number"),
    Column("difference", "minus from scratch, points", "signed"),
    Column("difference_low", "95 % interval", "interval", to="difference_high"),
]

DISTANCE = [
    Column("group", "group", "once"),
    Column("title", "arm"),
    Column("n", "runs", "number", 0),
    *(Column(name, DISTANCES[name].label, "number", 4 if "per" in name else 2) for name in DISTANCES),
]

MISSING = [
    Column("title", "arm"),
    Column("seed", "seed", "number", 0),
    Column("status", "status"),
    Column("why", "why"),
    Column("key", "key"),
]

_RANK = [
    Column("label", "shape statistic"),
    Column("runs", "runs", "number", 0),
    Column("spearman", "ρ", "number"),
    Column("low", "95 %", "interval", to="high"),
    Column("low_all", "95 %, corrected", "interval", to="high_all"),
    Column("kendall", "τ", "number"),
    Column("grouped", "ρ within groups", "number"),
    Column("grouped_low", "95 %", "interval", to="grouped_high"),
    Column("grouped_low_all", "95 %, corrected", "interval", to="grouped_high_all"),
    Column("within", "ρ within arms", "number"),
    Column("within_low", "95 %", "interval", to="within_high"),
    Column("within_low_all", "95 %, corrected", "interval", to="within_high_all"),
]
_RANKS = [
    Column("spearman", "ρ with the rise", "number"),
    Column("spearman_low", "95 %", "interval", to="spearman_high"),
    Column("kendall", "τ", "number"),
    Column("kendall_low", "95 %", "interval", to="kendall_high"),
]
_CONTRAST = [
    Column("group", "group", "once"),
    Column("title", "arm", "once"),
    Column("label", "statistic"),
    Column("runs", "runs", "number", 0),
    Column("baseline_runs", "baseline runs", "number", 0),
    Column("mean", "mean", "number"),
    Column("baseline_mean", "baseline mean", "number"),
    Column("unit", ""),
    Column("difference", "difference", "signed"),
    Column("low", "95 %", "interval", to="high"),
    Column("low_all", "95 %, corrected", "interval", to="high_all"),
]

ANSWERS = {
    "arms-and-line": _CONTRAST,
    "shape-and-accuracy": _RANK,
    "distance-and-monotonicity": [
        Column("label", "distance"),
        Column("rise_label", "rise"),
        Column("runs", "runs", "number", 0),
        Column("not_monotone", "not monotone", "number", 0),
        Column("auc", "AUC", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        *_RANKS,
        Column("grouped", "ρ within groups", "number"),
        Column("grouped_low", "95 %", "interval", to="grouped_high"),
    ],
    "interventions-and-shape": _CONTRAST,
    "start-and-barrier": [
        Column("title", "arm", "once"),
        Column("start", "initialisation", "once"),
        Column("label", "statistic"),
        Column("runs", "runs", "number", 0),
        Column("mean", "mean", "number"),
        Column("baseline_mean", "baseline mean", "number"),
        Column("unit", ""),
        Column("difference", "difference", "signed"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        Column("effect", "g", "signed"),
        Column("effect_low", "95 %", "interval", to="effect_high"),
    ],
    "barrier-and-batchnorm": [
        Column("label", "barrier", "once"),
        Column("batchnorm", "BatchNorm", "once"),
        Column("question", "question"),
        Column("runs", "runs", "number", 0),
        Column("value", "value", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        Column("sign", "sign"),
    ],
    "layers-and-line": [
        Column("title", "arm", "once"),
        Column("block", "block", "once"),
        Column("measure", "measure"),
        Column("label", "statistic"),
        Column("runs", "runs", "number", 0),
        Column("mean", "mean", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        Column("lowest", "range over runs", "interval", to="highest"),
        Column("clear", "clear", "number", 0),
        Column("alpha", "at α", "number"),
    ],
    "partial-pretraining": [
        Column("title", "arm"),
        Column("n", "runs", "number", 0),
        Column("mean", "mean, %", "number"),
        Column("difference", "minus from scratch, points", "signed"),
        Column("difference_low", "95 %", "interval", to="difference_high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
    ],
}
"""Tables of answers, by name."""

GROUPS = {
    "shape-and-accuracy": [
        Column("label", "shape statistic", "once"),
        Column("group", "group"),
        Column("runs", "runs", "number", 0),
        Column("arms", "arms", "number", 0),
        Column("inside", "ρ within", "number"),
        Column("inside_low", "95 %", "interval", to="inside_high"),
        Column("inside_low_all", "95 %, corrected", "interval", to="inside_high_all"),
        Column("without", "ρ without it", "number"),
        Column("without_low", "95 %", "interval", to="without_high"),
        Column("without_low_all", "95 %, corrected", "interval", to="without_high_all"),
    ],
    "distance-and-monotonicity": [
        Column("group", "group"),
        Column("runs", "runs", "number", 0),
        Column("arms", "arms", "number", 0),
        Column("not_monotone", "not monotone", "number", 0),
        Column("auc", "AUC within", "number"),
        Column("low", "95 %", "interval", to="high"),
        Column("low_all", "95 %, corrected", "interval", to="high_all"),
        *_RANKS,
        Column("without_auc", "AUC without it", "number"),
        Column("without_low", "95 %", "interval", to="without_high"),
    ],
}
"""Tables of answers by group of interventions."""
