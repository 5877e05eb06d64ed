"""Statistics of layer-wise lines: a row for each block, a panel for each statistic."""

from __future__ import annotations

import math

import matplotlib
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, INK, RULE, SOFT, STYLE, WIDE

_PANELS = {
    "start_above_end": "loss increase when set back, nats",
    "hump": "hump, nats",
    "tail_rise": "minimum below the final loss, nats",
}


@matplotlib.rc_context(STYLE)
def layerwise(numbers: pl.DataFrame, tolerance: float) -> Figure:
    """The statistics of each block's line: mean over runs, their range and interval; the worst block on top.

    Args:
        numbers: `tables.blocks` of one arm and one measure; the whole line is left out.
        tolerance: above which a hump counts, dotted.
    """
    subset = numbers.filter(pl.col("block") != "whole")
    lost = subset.filter(pl.col("number") == "start_above_end").sort("mean", descending=True, nulls_last=True)
    blocks = lost["block"].to_list()
    figure = Figure((WIDE, 0.9 + 0.3 * len(blocks)), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS.items(), strict=True):
        for row in subset.filter(pl.col("number") == name).iter_rows(named=True):
            y = blocks.index(row["block"])
            if not math.isfinite(row["mean"]):
                axes.annotate("NaN or infinite", (0, y), (4, 0), textcoords="offset points", va="center", color=SOFT)
                continue
            if math.isfinite(row["low"]):
                axes.plot([row["low"], row["high"]], [y, y], color=BLUE, lw=5, alpha=0.25, solid_capstyle="butt")
            axes.plot([row["lowest"], row["highest"]], [y, y], color=BLUE, lw=1)
            axes.plot(row["mean"], y, "o", color=BLUE, ms=5, mec="none")
            axes.annotate(
                f"{row['mean']:.2f}",
                (row["mean"], y),
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=INK,
            )
        axes.axvline(0, color=RULE, lw=0.9, zorder=0)
        if name == "hump":
            axes.axvline(tolerance, color=SOFT, lw=0.9, ls=":", zorder=0)
        axes.set_title(title, loc="left", fontsize=8.5, color=INK)
        axes.set_yticks(range(len(blocks)), blocks)
        axes.set_ylim(len(blocks) - 0.5, -0.7)
        axes.margins(x=0.12)
        panel.plain(axes, grid="x")
        axes.tick_params(axis="y", labelcolor=INK)
    return figure
