"""What is lost when one block alone is set back to its start: a bar for each block, a panel for each measure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, INK, RULE, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def set_back(blocks: pl.DataFrame, titles: Mapping[str, str]) -> Figure:
    """A bar for each block from top to bottom, with its interval and its share of the whole gain.

    Args:
        blocks: columns block, measure, lost, lost_low, lost_high, share; of one data set and treatment.
        titles: measure -> what stands above its panel.
    """
    names = blocks["block"].unique(maintain_order=True).to_list()
    figure = Figure((WIDE * (1 if len(titles) > 1 else 0.6), 0.9 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axes, (measure, title) in zip(panels, titles.items(), strict=True):
        for row in blocks.filter(pl.col("measure") == measure).iter_rows(named=True):
            y, lost, low, high = names.index(row["block"]), row["lost"], row["lost_low"], row["lost_high"]
            if not math.isfinite(lost):
                axes.annotate("NaN or infinite", (0, y), (4, 0), textcoords="offset points", va="center", color=SOFT)
                continue
            axes.barh(y, lost, 0.62, color=BLUE, alpha=0.55, lw=0)
            if math.isfinite(low):
                axes.plot([low, high], [y, y], color=INK, lw=1.1, solid_capstyle="butt")
            share = "" if row["share"] is None else f" · {100 * row['share']:.0f} %"
            words = f"{lost:.2f}{share}" if measure == "cross_entropy" else f"{lost:.3g}{share}"
            edge = max(lost, high if math.isfinite(high) else lost, 0.0)
            axes.annotate(
                words.replace("-", "−"),
                (edge, y),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=INK,
            )
        axes.axvline(0, color=RULE, lw=0.9, zorder=0)
        axes.set_title(title, loc="left", fontsize=8.5, color=SOFT, pad=8)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        left, right = axes.get_xlim()
        axes.set_xlim(left, right + 0.22 * (right - left))  # room for the words beside the longest bar
        panel.plain(axes, grid="x")
        axes.tick_params(axis="y", labelcolor=INK)
    return figure
