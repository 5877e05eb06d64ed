"""Heat maps of many lines: those of layers, and those between pairs of networks."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from linescape.report.figures import panel
from linescape.report.figures.panel import BLOCK_CEILING, INK, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def layers(
    means: pl.DataFrame,
    chance: float | None,
    ceiling: float = BLOCK_CEILING,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Loss over alpha (across) and lines (down), such as those of layers after Chatterji et al. 2020.

    Args:
        means: `tables.means` of the lines of one arm on one data set under one treatment, a label each.
        chance: chance level in nats; the colours end at `ceiling` times it, or at the highest loss.
        ceiling: a multiple of the chance level.
        marks: label -> an alpha that is marked by a white line across its row.
    """
    lines = means.filter(pl.col("measure") == "cross_entropy")
    names = lines["label"].unique(maintain_order=True).to_list()
    alphas = lines.filter(pl.col("label") == names[0])["alpha"].to_numpy()
    losses = np.stack([lines.filter(pl.col("label") == name)["mean"].to_numpy() for name in names])
    highest = float(np.max(losses[np.isfinite(losses)], initial=0.0)) or 1.0
    top = min(highest, ceiling * chance) if chance else highest
    figure = Figure((WIDE * 0.72, 0.9 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    edges = np.concatenate([alphas[:1], (alphas[1:] + alphas[:-1]) / 2, alphas[-1:]])
    # Grey shows through where the mean is NaN or infinite.
    axes.set_facecolor(panel.GRID)
    shown = np.ma.masked_invalid(losses)
    colours = axes.pcolormesh(
        edges, np.arange(len(names) + 1), shown, cmap="viridis", vmin=0.0, vmax=top, rasterized=True
    )
    for name, alpha in (marks or {}).items():
        axes.plot([alpha, alpha], [names.index(name) + 0.1, names.index(name) + 0.9], color="#fdfdfb", lw=2.2)
    panel.quantity(axes, "cross_entropy", lines)
    axes.set_ylim(len(names), 0)
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.set_xlabel(panel.ALPHA, color=SOFT)
    axes.tick_params(length=0, labelcolor=SOFT, pad=4)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, extend="max" if highest > top else "neither", pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=SOFT)
    if chance and chance < top:
        bar.ax.axhline(chance, color=INK, lw=1.2, ls=(0, (1, 2)))
        bar.ax.annotate(
            "chance", (2.3, chance), xycoords=("axes fraction", "data"), color=SOFT, fontsize=7, va="center"
        )
    return figure


@matplotlib.rc_context(STYLE)
def pairs(frame: pl.DataFrame, number: str, title: str) -> Figure:
    """A statistic of the line between each pair of networks, starts in rows, ends in columns.

    Its values are printed for up to 13 networks.

    Args:
        frame: columns start, end and `number`, a row for each line.
        number: the column to show; grey where it is NaN or infinite.
        title: its name, with the unit.
    """
    names = list(dict.fromkeys([*frame["start"], *frame["end"]]))
    down, across = names[:-1], names[1:]
    values = np.full((len(down), len(across)), np.nan)
    for start, end, value in frame.select("start", "end", number).iter_rows():
        values[down.index(start), across.index(end)] = value
    side, longest = min(0.55, 6.6 / len(across)), max(map(len, names))
    figure = Figure(
        (1.1 + 0.075 * longest + side * len(across), 0.6 + 0.055 * longest + side * len(down)), layout="constrained"
    )
    axes = figure.subplots()
    highest = float(np.max(values[np.isfinite(values)], initial=0.1))  # values near zero stay dark
    shown = np.ma.masked_invalid(values)
    colours = axes.pcolormesh(shown, cmap="viridis", vmin=0.0, vmax=highest)
    written = len(names) <= 13
    for (row, column), value in np.ndenumerate(values):
        if row > column:
            continue
        if not np.isfinite(value):
            axes.add_patch(Rectangle((column, row), 1, 1, color=panel.GRID, lw=0))
        elif written:
            ink = "#fdfdfb" if value < 0.6 * highest else INK
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", color=ink, ha="center", va="center", fontsize=7.5)
    axes.set_aspect("equal")
    axes.set_ylim(len(down), 0)
    axes.set_title(title, loc="left", color=SOFT, fontsize=8.5, pad=8)
    axes.set_yticks(np.arange(len(down)) + 0.5, down)
    axes.set_xticks(np.arange(len(across)) + 0.5, across, rotation=45, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelcolor=INK, pad=4)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(colours, ax=axes, pad=0.03, aspect=24, shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=SOFT)
    return figure
