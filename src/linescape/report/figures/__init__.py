"""Curves and tables as figures: draws, and computes nothing.

Object-oriented matplotlib without a window, so it works in any process. One style: thin lines are single runs, thick
lines their mean; labels are next to what they name; a dotted line is the chance level. What cannot be drawn is marked:
▲ at the upper edge where a loss exceeds the axis or is infinite, × where it is NaN, with a note in the panel.

`lines` draws curves, `layer_statistics`, `bars` and `dots` statistics of lines and runs, `intervals` estimates,
`heatmaps` many lines at once, `surfaces` planes; `panel` holds what they share. The colours are Okabe and Ito's, which
the colour-blind can distinguish (without yellow, which is too faint on paper).
"""

from linescape.report.figures.bars import set_back
from linescape.report.figures.dots import accuracy, distance_against_rise, distances, shape_against_accuracy
from linescape.report.figures.heatmaps import layers as heat
from linescape.report.figures.heatmaps import pairs
from linescape.report.figures.intervals import choices, correlations, rises
from linescape.report.figures.layer_statistics import layerwise
from linescape.report.figures.lines import blocks, fan, group, overview, parts, probe
from linescape.report.figures.panel import save
from linescape.report.figures.published import published_lines
from linescape.report.figures.surfaces import contours

__all__ = [
    "accuracy",
    "blocks",
    "choices",
    "contours",
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
    "published_lines",
    "rises",
    "save",
    "set_back",
    "shape_against_accuracy",
]
