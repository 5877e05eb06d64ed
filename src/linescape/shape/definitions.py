"""The definition of each statistic in a table or figure: label, formula, unit, meaning and source.

`linescape.shape.statistics` and `linescape.geometry.state` compute them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """The definition of a statistic.

    Attributes:
        label: two or three words for a table or an axis.
        formula: in Unicode, with L(α) for the loss at α; L(0) is the start, L(1) the end.
        unit: ``nats``, ``α`` (a length or position on the line), ``fraction``; empty where there is none.
        meaning: one sentence.
        source: the work that defines it, or ``linescape``.
    """

    label: str
    formula: str
    unit: str
    meaning: str
    source: str


_LUCAS = "Lucas et al. 2021"
_LIM = "Lim et al. 2024"

DEFINITIONS: Mapping[str, Definition] = {
    "min_delta": Definition(
        "min Δ (largest rise)",
        "max over α₁ ≤ α₂ of L(α₂) − L(α₁)",
        "nats",
        "The largest rise anywhere on the line, whether hump or overshoot; 0 means monotone.",
        _LUCAS,
    ),
    "hump": Definition(
        "hump",
        "max over β of min( L(β) − min L before β, L(β) − min L after β )",
        "nats",
        "The largest rise that is undone later; a rise that lasts until the end does not count.",
        "linescape",
    ),
    "tail_rise": Definition(
        "tail rise",
        "L(1) − min L",
        "nats",
        "How far the end lies above the lowest point of the line: the overshoot past the minimum.",
        "linescape",
    ),
    "interior_peak": Definition(
        "interior peak",
        "max over 0 < α < 1 of L(α) − L(0)",
        "nats",
        "How far the line climbs above its start; negative if it stays below.",
        "linescape",
    ),
    "barrier_above_chord": Definition(
        "barrier above chord",
        "max of L(α) − [(1−α) L(0) + α L(1)]",
        "nats",
        "Height above the straight line between the two ends; a plateau counts, a hump below a high start does not.",
        "Entezari et al. 2022",
    ),
    "barrier_above_mean": Definition(
        "barrier above mean",
        "max L − [L(0) + L(1)] / 2",
        "nats",
        "Defined for two trained networks; from a random start it is at least half of the descent, for every line.",
        "Frankle et al. 2020",
    ),
    "barrier_above_max_end": Definition(
        "barrier above worse end",
        "max L − max( L(0), L(1) )",
        "nats",
        "Height above the worse of the two networks.",
        "linescape",
    ),
    "area": Definition("mean loss", "∫ L(α) dα from 0 to 1", "nats", "The mean loss along the line.", "linescape"),
    "monotone_fraction": Definition(
        "monotone fraction",
        "share of steps with L(αₖ₊₁) ≤ L(αₖ)",
        "fraction",
        "How many steps do not rise, whatever their size; on a plateau noise alone makes it about one half.",
        _LIM,
    ),
    "convexity": Definition(
        "convexity",
        "share of inner points on or below the line through their neighbours",
        "fraction",
        "1 for a convex line.",
        _LIM,
    ),
    "fraction_below_chord": Definition(
        "fraction below chord",
        "share of inner points with L(α) ≤ (1−α) L(0) + α L(1)",
        "fraction",
        "1 for a line that never stands above its chord.",
        _LIM,
    ),
    "position_of_max": Definition(
        "position of maximum", "argmax L", "α", "Where the loss is highest, ends included.", "linescape"
    ),
    "peak": Definition(
        "position of hump",
        "α at the top of the highest hump",
        "α",
        "Where a training from the barrier starts; without a hump, the highest inner point.",
        "linescape",
    ),
    "plateau_loss": Definition(
        "plateau (loss)",
        "longest interval with |L(α) − ln K| ≤ 0.1",
        "α",
        "How long the loss stays at that of guessing among K classes.",
        "linescape, after Wang et al. 2023",
    ),
    "plateau_error": Definition(
        "plateau (error)",
        "longest interval with error ≥ 0.95 (1 − 1/K)",
        "α",
        "How long the error stays at that of guessing, or above.",
        "linescape, after Wang et al. 2023",
    ),
}
"""The statistics of a curve, as of `linescape.shape.summary`."""

LAYERWISE: Mapping[str, Definition] = {
    "start_above_end": Definition(
        "lost at the start",
        "L(0) − L(1)",
        "nats",
        "Of a layer-wise line: how much the loss rises when this block alone is reset to its start.",
        "Zhang et al. 2022; Chatterji et al. 2020",
    ),
    "hump": DEFINITIONS["hump"],
    "tail_rise": DEFINITIONS["tail_rise"],
}
"""The statistics of a layer-wise line, `linescape.analysis.tables.LAYERWISE`."""

DISTANCES: Mapping[str, Definition] = {
    "relative_distance": Definition(
        "relative distance",
        "‖θ₁ − θ₀‖ / ‖θ₀‖",
        "",
        "How far all parameters moved, divided by the norm of the start; running statistics of BatchNorm do not count.",
        _LUCAS,
    ),
    "distance": Definition(
        "distance", "‖θ₁ − θ₀‖", "", "Euclidean distance from start to end.", "Vlaar & Frankle 2022"
    ),
    "distance_per_parameter": Definition(
        "distance per parameter",
        "‖θ₁ − θ₀‖ / √(number of parameters)",
        "",
        "Root mean square change of one parameter, comparable between networks of different sizes.",
        "linescape",
    ),
}
"""The distances of `linescape.geometry.state.Distance`."""
