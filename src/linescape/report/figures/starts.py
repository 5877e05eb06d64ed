"""A statistic of runs from a few starts, or of pairs joined in a few ways, by what was done besides."""

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
        runs: ``title``, ``start`` (a few of them) and ``value``, a row for each run.
        quantity: what the value is, with its unit.
    """
    titles, starts = (runs[name].unique(maintain_order=True).to_list() for name in ("title", "start"))
    figure = Figure((WIDE * 0.72, 0.9 + 0.18 * max(2, len(starts)) * max(1, len(titles))), layout="constrained")
    axes = figure.subplots()
    handles = []
    shifts = (np.arange(len(starts)) - (len(starts) - 1) / 2) * 0.64 / max(2, len(starts))
    for start, shift, colour in zip(starts, shifts, (INK, *COLOURS), strict=False):
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
