"""Curves and tables as figures: draws, and computes nothing.

Object-oriented matplotlib without a window, so it works in any process. One style: thin lines are single runs, thick
ones their mean; words stand beside what they name; a dotted line is the level of guessing. What cannot be drawn is
marked: ▲ at the upper edge where a loss is higher than the axis or infinite, × where it is NaN; in words beside it.

`lines` draws curves, `layerwise` what their blocks' lines say, `dots` numbers of runs, `intervals` estimates; `panel`
is what they share. Colours are Okabe and Ito's, told apart by the colour-blind too (yellow is left out: too faint on
paper).
"""

from linescape.figures.beside import beside
from linescape.figures.dots import accuracy, distance_against_rise, distances, shape_against_accuracy
from linescape.figures.heat import layers as heat
from linescape.figures.heat import pairs
from linescape.figures.intervals import choices, correlations, rises
from linescape.figures.layerwise import layerwise
from linescape.figures.lines import blocks, fan, group, overview, parts, probe
from linescape.figures.panel import save

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
