"""Barriers of layers that are averaged: one by one, and cumulatively from both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, COLOURS, INK, RED, RULE, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def layers_averaged(rows: pl.DataFrame, tolerance: float) -> Figure:
    """Left, a bar for each layer by itself, with a ring for a random direction; right, barriers against the number.

    Both panels have the same scale, so that what single layers add is seen against what they add together.

    Args:
        rows: of one arm: ``what``, ``layer``, ``layers``, ``barrier``, ``low``, ``high``.
        tolerance: nats up to which there is no barrier.
    """
    single, drawn = (rows.filter(pl.col("what") == what) for what in ("one layer", "random direction"))
    names = single["layer"].to_list()
    figure = Figure((WIDE, 1.2 + 0.25 * max(len(names), 6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1])
    _one_by_one(left, single, drawn)
    _together(right, rows, names, tolerance)
    # Intervals of few pairs may be far wider than all that was measured.
    values = [value for value in rows["barrier"] if math.isfinite(value)]
    least, most = min(0.0, *values), max(2 * tolerance, *values)
    room = 0.12 * (most - least)
    left.set_xlim(least - room, most + room)
    right.set_ylim(least - room, most + 2 * room)
    return figure


def _one_by_one(axes: Axes, single: pl.DataFrame, drawn: pl.DataFrame) -> None:
    """A bar for each layer, with a ring for a random direction."""
    names = single["layer"].to_list()
    places = np.arange(len(names))
    axes.barh(places, single["barrier"].to_numpy(), 0.62, color=BLUE, alpha=0.55, lw=0)
    for place, low, high in zip(places, single["low"], single["high"], strict=True):
        if math.isfinite(low):
            axes.plot([low, high], [place, place], color=INK, lw=1.1, solid_capstyle="butt")
    order = [names.index(layer) for layer in drawn["layer"]]
    axes.plot(drawn["barrier"].to_numpy(), order, "o", mfc="none", mec=RED, ms=5, label="random direction, as long")
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_title("one layer averaged: barrier, nats", loc="left", color=SOFT, fontsize=8.5, pad=8)
    axes.axvline(0, color=RULE, lw=0.9, zorder=0)
    axes.legend(frameon=False, fontsize=7.5, loc="lower right", labelcolor=SOFT)
    panel.plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)


def _together(axes: Axes, rows: pl.DataFrame, names: Sequence[str], tolerance: float) -> None:
    """Barriers against the number of layers, for each order in which they are added."""
    everything = rows.filter(pl.col("what") == "all layers")
    single = rows.filter(pl.col("what") == "one layer")
    orders: tuple[tuple[str, Sequence[str], str], ...] = (
        ("from the input", names[:1], BLUE),
        ("from the output", names[-1:], RED),
        ("random order", [], SOFT),
        ("greedy order", [], COLOURS[2]),
    )
    for what, first, colour in orders:
        several = pl.concat(
            [single.filter(pl.col("layer").is_in(first)), rows.filter(pl.col("what") == what), everything]
        )
        several = several.sort("layers")
        panel.line(axes, several["layers"], several["barrier"], colour, 1.8, "-")[0].set(marker="o", ms=4, label=what)
        for count, low, high in several.select("layers", "low", "high").iter_rows():
            if math.isfinite(low):
                axes.plot([count, count], [low, high], color=colour, lw=5, alpha=0.18, solid_capstyle="butt")
    axes.axhline(tolerance, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=1)
    axes.annotate(f"barrier above {tolerance:g}", (1, tolerance), (0, 2), **panel.AT_RIGHT)
    axes.set_title("several layers averaged: barrier, nats", loc="left", color=SOFT, fontsize=8.5, pad=8)
    axes.set_xlabel("number of layers, the others are A's", color=SOFT)
    axes.set_xticks(range(1, len(names) + 1))
    axes.legend(frameon=False, fontsize=7.5, loc="upper left", labelcolor=SOFT)
    panel.plain(axes, grid="y")
