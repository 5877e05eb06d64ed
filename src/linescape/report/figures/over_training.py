"""A statistic against the step of training at which something was done."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, INK, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def against_steps(
    rows: pl.DataFrame,
    runs: pl.DataFrame,
    value: str,
    quantity: str,
    threshold: tuple[float, str] | None = None,
    axis: str = "step of training",
) -> Figure:
    """Means over runs with their intervals, and a dot for each run, at equal distances in the order of steps.

    Args:
        rows: ``step``, the mean named `value`, ``low`` and ``high``.
        runs: ``step`` and `value` of each run.
        value: name of the statistic.
        quantity: what it is, with its unit, above the panel.
        threshold: a value with a line of its own, and its name.
        axis: what ``step`` is.
    """
    figure = Figure((WIDE * 0.6, 2.9), layout="constrained")
    axes = figure.subplots()
    steps: Sequence[int] = rows["step"].to_list()
    places = np.arange(len(steps))
    means = rows[value].to_numpy()
    for place, low, high in zip(places, rows["low"], rows["high"], strict=True):
        if math.isfinite(low):
            axes.plot([place, place], [low, high], color=BLUE, lw=5, alpha=0.22, solid_capstyle="butt")
    axes.plot(places, means, color=BLUE, lw=1.6, marker="_", ms=11, mew=2)
    for place, step in zip(places, steps, strict=True):
        dots = runs.filter(pl.col("step") == step)[value].to_numpy()
        axes.plot(np.full(dots.size, place), dots, "o", color=BLUE, ms=3.6, mec="none", alpha=0.75)
    if threshold:
        axes.axhline(threshold[0], color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=1)
        axes.annotate(threshold[1], (1, threshold[0]), (0, 2), **panel.AT_RIGHT)
    top = max([*runs[value].drop_nans().to_list(), *means, 1.6 * (threshold[0] if threshold else 0.0)])
    axes.set_ylim(min(0.0, *means), 1.08 * top or 1.0)
    axes.set_xlim(-0.4, len(steps) - 0.6)
    axes.set_xticks(places, [f"{step:,}" for step in steps])
    axes.set_xlabel(axis, color=SOFT)
    axes.set_title(quantity, loc="left", color=SOFT, fontsize=8.5, pad=8)
    panel.plain(axes, grid="y")
    axes.tick_params(axis="x", labelcolor=INK)
    return figure
