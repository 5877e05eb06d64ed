"""From a curve to a few numbers, and how sure they are.

`numbers` holds one function a number: barriers, rises, plateaus. `intervals` resamples the examples
behind a curve and gives each number an interval.
"""

from linescape.shape.intervals import Estimate, estimate, estimates, probability_monotone, rise_p_value
from linescape.shape.numbers import (
    LOSS_STATISTICS,
    STATISTICS,
    TOLERANCE,
    Bump,
    Number,
    area,
    barrier_above_chord,
    barrier_above_max_end,
    barrier_above_mean,
    bumps,
    convexity,
    fraction_below_chord,
    hump,
    interior_peak,
    min_delta,
    monotone_fraction,
    peak,
    plateau_error,
    plateau_loss,
    position_of_max,
    start_above_end,
    summary,
    tail_rise,
)

__all__ = [
    "LOSS_STATISTICS",
    "STATISTICS",
    "TOLERANCE",
    "Bump",
    "Estimate",
    "Number",
    "area",
    "barrier_above_chord",
    "barrier_above_max_end",
    "barrier_above_mean",
    "bumps",
    "convexity",
    "estimate",
    "estimates",
    "fraction_below_chord",
    "hump",
    "interior_peak",
    "min_delta",
    "monotone_fraction",
    "peak",
    "plateau_error",
    "plateau_loss",
    "position_of_max",
    "probability_monotone",
    "rise_p_value",
    "start_above_end",
    "summary",
    "tail_rise",
]
