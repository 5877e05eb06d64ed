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
        unit: ``nats``, ``α`` (a length or position on the line), ``fraction``; empty where there is none.
        meaning: one sentence.
        source: the work that defines it, or ``linescape``.
        misleads: when it says something else than it seems to.
    """

    label: str
    formula: str
    unit: str
    meaning: str
    source: str
    misleads: str


_LUCAS = "Lucas et al. 2021"
_LIM = "Lim et al. 2024"

DEFINITIONS: Mapping[str, Definition] = {
    "min_delta": Definition(
        "min Δ (largest rise)",
        "max over α₁ ≤ α₂ of L(α₂) − L(α₁)",
        "nats",
        "Largest rise along the line, whether or not it is followed by a fall; 0 for a monotone line.",
        _LUCAS,
        "It counts a hump and an overshoot at the end alike. Noise alone lifts it, so look at its interval.",
    ),
    "hump": Definition(
        "hump",
        "max over β of min( L(β) − min L before β, L(β) − min L after β )",
        "nats",
        "Height of the largest rise that is followed by a fall; a rise that lasts until the end does not count.",
        "linescape",
        "One that is narrower than the distance between positions is missed.",
    ),
    "tail_rise": Definition(
        "tail rise",
        "L(1) − min L",
        "nats",
        "Height of the end above the lowest point of the line.",
        "linescape",
        "Between two trained networks of which the first is better it is the difference of the ends.",
    ),
    "interior_peak": Definition(
        "interior peak",
        "max over 0 < α < 1 of L(α) − L(0)",
        "nats",
        "Largest rise above the start; negative if the loss stays below its start.",
        "linescape",
        "Negative on most lines from a random start, however bumpy they are on the way down.",
    ),
    "barrier_above_chord": Definition(
        "barrier above chord",
        "max of L(α) − [(1−α) L(0) + α L(1)]",
        "nats",
        "Height above the straight line between both ends; a plateau counts, a hump below a high start does not.",
        "Entezari et al. 2022",
        "From a random start a plateau counts, where nothing rises; and a hump below a high start is hidden.",
    ),
    "barrier_above_mean": Definition(
        "barrier above mean",
        "max L − [L(0) + L(1)] / 2",
        "nats",
        "Defined for two trained networks; from a random initialisation it is at least half of the decrease in loss.",
        "Frankle et al. 2020",
        "From a random start every curve has one, monotone ones included.",
    ),
    "barrier_above_max_end": Definition(
        "barrier above worse end",
        "max L − max( L(0), L(1) )",
        "nats",
        "Height above the worse of the two networks.",
        "linescape",
        "A rise on the way down that stays below the worse end does not count.",
    ),
    "area": Definition(
        "mean loss",
        "∫ L(α) dα from 0 to 1",
        "nats",
        "Mean loss along the line.",
        "linescape",
        "It depends on the loss of the start as much as on the shape.",
    ),
    "monotone_fraction": Definition(
        "monotone fraction",
        "fraction of steps with L(αₖ₊₁) ≤ L(αₖ)",
        "fraction",
        "Fraction of steps that do not rise, whatever their size; about one half on a noisy plateau.",
        _LIM,
        "It counts steps and not their size, and changes with the number of positions.",
    ),
    "convexity": Definition(
        "convexity",
        "fraction of interior points on or below the line through their neighbours",
        "fraction",
        "1 for a convex line.",
        _LIM,
        "On a nearly straight stretch noise of any size decides, and it changes with the number of positions.",
    ),
    "fraction_below_chord": Definition(
        "fraction below chord",
        "fraction of interior points with L(α) ≤ (1−α) L(0) + α L(1)",
        "fraction",
        "1 for a line that is nowhere above its chord.",
        _LIM,
        "A tiny excess counts as much as a high barrier.",
    ),
    "position_of_max": Definition(
        "position of maximum",
        "argmax L",
        "α",
        "Position of the highest loss, ends included.",
        "linescape",
        "On a flat or noisy curve it jumps from run to run; from a random start it is often 0.",
    ),
    "peak": Definition(
        "position of hump",
        "α at the top of the highest hump",
        "α",
        "Position from which training at the barrier starts; without a hump, the highest interior point.",
        "linescape",
        "A hump no higher than the noise has a top too: look at the hump first.",
    ),
    "plateau_loss": Definition(
        "plateau (loss)",
        "longest interval with |L(α) − ln K| ≤ 0.1",
        "α",
        "Length over which the loss stays at the chance level of K classes.",
        "linescape, after Wang et al. 2023",
        "Classes of unequal size have another chance level than ln K.",
    ),
    "plateau_error": Definition(
        "plateau (error)",
        "longest interval with error ≥ 0.95 (1 − 1/K)",
        "α",
        "Length over which the error is at the chance level or above.",
        "linescape, after Wang et al. 2023",
        "Errors above the chance level count too, and with classes of unequal size it is another one.",
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
        "Blocks act together: the increases of all blocks need not add up to that of the network.",
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
        "Large where the start is small (biases at 0). Weights before a BatchNorm can grow without any effect.",
    ),
    "distance": Definition(
        "distance",
        "‖θ₁ − θ₀‖",
        "",
        "Euclidean distance from start to end, over all parameters.",
        "Vlaar & Frankle 2022",
        "It grows with the number of parameters, and with scales of weights that have no effect.",
    ),
    "distance_per_parameter": Definition(
        "distance per parameter",
        "‖θ₁ − θ₀‖ / √(number of parameters)",
        "",
        "Root mean square change of a parameter, comparable across network sizes.",
        "linescape",
        "A few parameters that move far do not show among many that stay.",
    ),
}
"""The distances of `linescape.geometry.state.Distance`."""
