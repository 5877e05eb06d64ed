"""Definitions of all statistics in a report: label, formula, unit, meaning and source.

The formulas are computed in `linescape.shape` and `linescape.geometry.state`; the texts here are for readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """The definition of one statistic.

    Attributes:
        label: a few words for a table or an axis.
        formula: in Unicode, with L(α) for the loss at α; L(0) is the start, L(1) the end.
        unit: ``nats``, ``α`` (a length or position on the line), ``fraction``; empty for a pure number.
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
        "Largest rise along the line, whether or not it is followed by a fall; 0 for a monotone line.",
        _LUCAS,
    ),
    "hump": Definition(
        "hump",
        "max over β of min( L(β) − min L before β, L(β) − min L after β )",
        "nats",
        "Height of the largest rise that is followed by a fall; a rise that lasts until the end does not count.",
        "linescape",
    ),
    "tail_rise": Definition(
        "tail rise",
        "L(1) − min L",
        "nats",
        "Height of the end above the lowest point of the line.",
        "linescape",
    ),
    "interior_peak": Definition(
        "interior peak",
        "max over 0 < α < 1 of L(α) − L(0)",
        "nats",
        "Largest rise above the start; negative if the loss stays below its start.",
        "linescape",
    ),
    "barrier_above_chord": Definition(
        "barrier above chord",
        "max of L(α) − [(1−α) L(0) + α L(1)]",
        "nats",
        "Height above the straight line between both ends; a plateau counts, a hump below a high start does not.",
        "Entezari et al. 2022",
    ),
    "barrier_above_mean": Definition(
        "barrier above mean",
        "max L − [L(0) + L(1)] / 2",
        "nats",
        "Defined for two trained networks; from a random initialisation it is at least half of the decrease in loss.",
        "Frankle et al. 2020",
    ),
    "barrier_above_max_end": Definition(
        "barrier above worse end",
        "max L − max( L(0), L(1) )",
        "nats",
        "Height above the worse of the two networks.",
        "linescape",
    ),
    "area": Definition("mean loss", "∫ L(α) dα from 0 to 1", "nats", "Mean loss along the line.", "linescape"),
    "monotone_fraction": Definition(
        "monotone fraction",
        "fraction of steps with L(αₖ₊₁) ≤ L(αₖ)",
        "fraction",
        "Fraction of steps that do not rise, whatever their size; about one half on a noisy plateau.",
        _LIM,
    ),
    "convexity": Definition(
        "convexity",
        "fraction of interior points on or below the line through their neighbours",
        "fraction",
        "1 for a convex line.",
        _LIM,
    ),
    "fraction_below_chord": Definition(
        "fraction below chord",
        "fraction of interior points with L(α) ≤ (1−α) L(0) + α L(1)",
        "fraction",
        "1 for a line that is nowhere above its chord.",
        _LIM,
    ),
    "position_of_max": Definition(
        "position of maximum", "argmax L", "α", "Position of the highest loss, ends included.", "linescape"
    ),
    "peak": Definition(
        "position of hump",
        "α at the top of the highest hump",
        "α",
        "Position from which training at the barrier starts; without a hump, the highest interior point.",
        "linescape",
    ),
    "plateau_loss": Definition(
        "plateau (loss)",
        "longest interval with |L(α) − ln K| ≤ 0.1",
        "α",
        "Length over which the loss stays at the chance level of K classes.",
        "linescape, after Wang et al. 2023",
    ),
    "plateau_error": Definition(
        "plateau (error)",
        "longest interval with error ≥ 0.95 (1 − 1/K)",
        "α",
        "Length over which the error is at the chance level or above.",
        "linescape, after Wang et al. 2023",
    ),
}
"""The shape statistics of `linescape.shape.summary`."""

LAYERWISE: Mapping[str, Definition] = {
    "start_above_end": Definition(
        "loss increase at the start",
        "L(0) − L(1)",
        "nats",
        "On a layer-wise line: increase of the loss when this block alone is set back to its initialisation.",
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
        "Distance moved relative to the norm of the initial parameters, without running statistics of BatchNorm.",
        _LUCAS,
    ),
    "distance": Definition(
        "distance",
        "‖θ₁ − θ₀‖",
        "",
        "Euclidean distance from start to end, over all parameters.",
        "Vlaar & Frankle 2022",
    ),
    "distance_per_parameter": Definition(
        "distance per parameter",
        "‖θ₁ − θ₀‖ / √(number of parameters)",
        "",
        "Root mean square change of a parameter, comparable across network sizes.",
        "linescape",
    ),
}
"""The distances of `linescape.geometry.state.Distance`."""
