"""The length of the plateau of each run against the gap of its last biases."""

from __future__ import annotations

import matplotlib
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def plateau_against_gap(points: pl.DataFrame) -> Figure:
    """A dot for each run, in the colour of its network.

    Args:
        points: ``title``, ``gap`` (logits) and ``plateau`` (share of the line), a row for each run.
    """
    figure = Figure((WIDE * 0.6, 3.2), layout="constrained")
    axes = figure.subplots()
    titles, handles = points["title"].unique(maintain_order=True).to_list(), []
    for index, title in enumerate(titles):
        runs = points.filter(pl.col("title") == title)
        colour = panel.look(index)[0]
        handles += axes.plot(runs["gap"], runs["plateau"], "o", color=colour, ms=4.5, mec="none", alpha=0.8)
    axes.set_xlabel("gap of the last biases, logits", color=SOFT)
    axes.set_title("plateau of training error, share of the line", loc="left", color=SOFT)
    panel.plain(axes, grid="both")
    panel.key(figure, handles, titles)
    return figure
