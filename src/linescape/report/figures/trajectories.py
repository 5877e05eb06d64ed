"""The way of a training beside the line from its start to its end (Goodfellow et al. 2015)."""

from __future__ import annotations

import matplotlib
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, SOFT, STYLE


@matplotlib.rc_context(STYLE)
def ways(trajectories: pl.DataFrame) -> Figure:
    """A panel for each arm: distance from the line against the position on it, a line of dots for each run.

    Args:
        trajectories: `tables.Results.trajectories`.
    """
    arms = trajectories.unique("arm", maintain_order=True)
    figure, panels = panel.grid(arms.height, columns=3, height=2.2)
    top = 1.1 * float(trajectories["beside"].drop_nans().max() or 1.0)  # type: ignore[arg-type]
    for axes, (arm, title) in zip(panels, arms.select("arm", "title").iter_rows(), strict=False):
        of_arm = trajectories.filter(pl.col("arm") == arm)
        for _, run in of_arm.group_by("seed", maintain_order=True):
            axes.plot(run["along"], run["beside"], "o-", color=BLUE, lw=1.0, ms=3.2, mec="none", alpha=0.7)
        panel.alpha_axis(axes, alphas=trajectories["along"].drop_nans())
        axes.set_ylim(0, top)
        panel.title(axes, title)
        panel.plain(axes, grid="y")
    figure.supylabel("distance from the line ÷ its length", color=SOFT, fontsize=8.5)
    figure.supxlabel("α of the nearest point of the line", color=SOFT, fontsize=8.5)
    return figure
