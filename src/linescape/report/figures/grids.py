"""The largest rise of the lines of a grid of trainings: by setting, and against another quantity of each line."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import INK, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def rises_by_setting(points: pl.DataFrame, least: float) -> Figure:
    """A panel for each arm, other settings down, learning rate across; the rise is printed in each cell.

    Args:
        points: arm, title, rate, depth, setting (words), rise (nats), kept.
        least: rises up to this one stay dark.
    """
    arms = points.unique("arm", maintain_order=True)
    rates = sorted(points["rate"].unique())
    names = points.sort("depth", maintain_order=True)["setting"].unique(maintain_order=True).to_list()
    figure = Figure((WIDE, 0.9 + 0.24 * len(names)), layout="constrained")
    panels = figure.subplots(1, arms.height, squeeze=False)[0]
    highest = float(points.filter(pl.col("kept") & pl.col("rise").is_finite())["rise"].max() or 0.0)  # type: ignore[arg-type]
    bottom, top = math.log10(least), math.log10(max(10 * least, highest))
    for axes, (arm, title) in zip(panels, arms.select("arm", "title").iter_rows(), strict=True):
        shades = np.full((len(names), len(rates)), np.nan)
        for row in points.filter(pl.col("arm") == arm).iter_rows(named=True):
            y, x = names.index(row["setting"]), rates.index(row["rate"])
            if row["rise"] is None:
                continue
            if not math.isfinite(row["rise"]):
                words = "NaN" if math.isnan(row["rise"]) else "∞"
                axes.text(x + 0.5, y + 0.5, words, color=SOFT, ha="center", va="center", fontsize=7)
                continue
            if row["kept"]:
                shades[y, x] = math.log10(max(least, row["rise"]))
            ink = SOFT if not row["kept"] else "#fdfdfb" if shades[y, x] < 0.6 * top + 0.4 * bottom else INK
            words = "0" if row["rise"] <= 0 else f"{row['rise']:.2g}" if row["rise"] >= least else f"<{least:g}"
            axes.text(x + 0.5, y + 0.5, words, color=ink, ha="center", va="center", fontsize=7)
        axes.set_facecolor(panel.GRID)
        axes.pcolormesh(np.ma.masked_invalid(shades), cmap="viridis", vmin=bottom, vmax=top)
        axes.set_ylim(len(names), 0)
        axes.set_xticks(np.arange(len(rates)) + 0.5, [f"{rate:g}" for rate in rates])
        axes.set_yticks(np.arange(len(names)) + 0.5, names if axes is panels[0] else [""] * len(names))
        axes.tick_params(length=0, labelcolor=INK, pad=4)
        axes.spines[:].set_visible(False)
        panel.title(axes, title)
    figure.supxlabel("learning rate", color=SOFT, fontsize=8.5)
    return figure


@matplotlib.rc_context(STYLE)
def rise_against(
    points: pl.DataFrame,
    least: float,
    column: str = "relative_distance",
    words: str = "distance moved ÷ norm of the start",
) -> Figure:
    """A dot for each run, in the colour of its arm; rises up to `least` lie on the bottom.

    Args:
        points: title, rise (nats) and `column`.
        least: the lower end of the logarithmic axis.
        column: what is across.
        words: what that is, with its unit.
    """
    figure = Figure((WIDE * 0.6, 3.2), layout="constrained")
    axes = figure.subplots()
    titles, handles = points["title"].unique(maintain_order=True).to_list(), []
    for index, title in enumerate(titles):
        runs = points.filter(pl.col("title") == title)
        rises = np.maximum(least, runs["rise"].to_numpy())
        colour = panel.look(index)[0]
        handles += axes.plot(runs[column], rises, "o", color=colour, ms=4.5, mec="none", alpha=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_xlabel(words, color=SOFT)
    axes.set_title(f"largest rise of training loss, nats (at most {least:g}: at the bottom)", loc="left", color=SOFT)
    panel.plain(axes, grid="both")
    axes.tick_params(which="minor", length=0)
    panel.key(figure, handles, titles)
    return figure
