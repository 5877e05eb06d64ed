"""A statistic of runs from two starts, by what was done after them."""

from __future__ import annotations

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import COLOURS, INK, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def from_starts(runs: pl.DataFrame, quantity: str) -> Figure:
    """A row for each title and, within it, one for each start: a dot for each run, a tick for their mean.

    Args:
        runs: ``title``, ``start`` (two of them) and ``value``, a row for each run.
        quantity: what the value is, with its unit.
    """
    titles, starts = (runs[name].unique(maintain_order=True).to_list() for name in ("title", "start"))
    figure = Figure((WIDE * 0.72, 0.9 + 0.36 * max(1, len(titles))), layout="constrained")
    axes = figure.subplots()
    handles = []
    for start, shift, colour in zip(starts, (-0.16, 0.16), (INK, COLOURS[0]), strict=False):
        for y, title in enumerate(titles):
            values = runs.filter((pl.col("title") == title) & (pl.col("start") == start))["value"].to_numpy()
            dots = axes.plot(values, np.full(values.size, y + shift), "o", color=colour, ms=4, mec="none", alpha=0.7)
            if values.size:
                axes.plot(values.mean(), y + shift, "|", color=colour, ms=10, mew=2)
        handles += dots
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.set_xlabel(quantity, color=SOFT)
    panel.plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines["left"].set_visible(False)
    panel.key(figure, handles, starts)
    return figure
