"""Measured lines with published points over them."""

from __future__ import annotations

import matplotlib
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import BLOCK_CEILING, INK, SOFT, STYLE


@matplotlib.rc_context(STYLE)
def published_lines(lines: pl.DataFrame, means: pl.DataFrame, runs: pl.DataFrame, points: pl.DataFrame) -> Figure:
    """A panel for each line of an arm with published points: circles on a dashed line, over the measured curves.

    Args:
        lines: `tables.Results.lines` of one arm, data set and BatchNorm treatment.
        means: `tables.means` of them.
        runs: `tables.Results.runs`, for the chance level.
        points: `tables.published_points` of the arm.
    """
    lines, means = (frame.filter(pl.col("measure") == "cross_entropy") for frame in (lines, means))
    labels = points["label"].unique(maintain_order=True).to_list()
    figure, panels = panel.grid(len(labels), columns=3, height=2.4)
    handles = {}
    for axes, label in zip(panels, labels, strict=False):
        single, mean, published = (frame.filter(pl.col("label") == label) for frame in (lines, means, points))
        drawn = pl.concat([single.select("mean"), published.select(mean="loss")])
        chance = panel.chance_level(runs, points["arm"].unique().to_list(), "cross_entropy")
        top = panel.frame(axes, "cross_entropy", chance, drawn, BLOCK_CEILING, named=axes is panels[0])
        panel.alpha_axis(axes)
        panel.title(axes, "whole network" if label == "whole" else label)
        panel.single_runs(axes, single, panel.COLOURS[0], top)
        panel.notes(axes, single, top, "cross_entropy")
        handles["measured: mean of runs"] = panel.line(axes, mean["alpha"], mean["mean"], panel.COLOURS[0], 1.8, "-")[0]
        handles[_label(published)] = axes.plot(
            published["alpha"],
            published["loss"],
            "o--",
            color=SOFT,
            mfc="none",
            mec=INK,
            ms=4,
            mew=0.8,
            lw=0.9,
            zorder=4,
        )[0]
    panel.around(figure, "cross_entropy", lines)
    panel.key(figure, list(handles.values()), list(handles))
    return figure


def _label(published: pl.DataFrame) -> str:
    differs = published["differs"][0]
    return f"published (other setting; here {differs})" if differs else "published"
