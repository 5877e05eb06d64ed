"""Curves and tables as figures: draws, and computes nothing.

Object-oriented matplotlib without a window, so it works in any process. One style: thin lines are single runs, thick
ones their mean; words stand beside what they name; a dotted line is the level of guessing. What cannot be drawn is
marked: ▲ at the upper edge where a loss is higher than the axis or infinite, × where it is NaN; in words beside it.

`lines` draws curves, `layerwise` what their blocks' lines say, `dots` numbers of runs, `intervals` estimates; `panel`
is what they share. Colours are Okabe and Ito's, told apart by the colour-blind too (yellow is left out: too faint on
paper).
"""

from linescape.report.figures.dots import accuracy, distance_against_rise, distances, shape_against_accuracy
from linescape.report.figures.heatmaps import layers as heat
from linescape.report.figures.heatmaps import pairs
from linescape.report.figures.intervals import choices, correlations, rises
from linescape.report.figures.layer_statistics import layerwise
from linescape.report.figures.lines import blocks, fan, group, overview, parts, probe
from linescape.report.figures.panel import save
from linescape.report.figures.published import beside

__all__ = [
    "accuracy",
    "beside",
    "blocks",
    "choices",
    "correlations",
    "distance_against_rise",
    "distances",
    "fan",
    "group",
    "heat",
    "layerwise",
    "overview",
    "pairs",
    "parts",
    "probe",
    "rises",
    "save",
    "shape_against_accuracy",
]
