"""One small picture: a panel as wide as a phone, in the style of the reports, and the words that stand for it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import linescape as ls
from linescape.report.figures.panel import BLUE, INK, RED, SOFT, plain, save

SIZE = (3.6, 2.3)
"""Inches."""


class Picture(NamedTuple):
    """A figure, and its text alternative."""

    figure: Figure
    words: str

    def write(self, path: Path) -> None:
        """Write it as SVG, with the words as its title."""
        save(self.figure, path)
        drawn = path.read_text(encoding="utf-8")
        head = drawn.index(">", drawn.index("<svg")) + 1
        title = f"\n <title>{html.escape(self.words)}</title>"
        path.write_text(drawn[:head] + title + drawn[head:], encoding="utf-8")


def panel(title: str, x: str = "", y: str = "", size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    """An empty panel; what is on the vertical axis stands above it."""
    figure = Figure(size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title + (f"\n{y}" if y else ""), loc="left", color=INK, fontsize=8.5)
    axes.set_xlabel(x, color=SOFT, fontsize=8)
    plain(axes, grid="y")
    return figure, axes


def plain_powers(axes: Axes) -> None:
    """A logarithmic vertical axis whose ticks are numbers: the style of the figures draws no formulas."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.15g}")
    axes.minorticks_off()


def line_panel(
    title: str, curve: ls.Curve, ends: tuple[str, str], measure: str = "cross_entropy"
) -> tuple[Figure, Axes]:
    """A panel with the curve of a line; `ends` says what the two networks are."""
    quantity = "test error, %" if measure == "error" else "test loss, nats"
    figure, axes = panel(title, f"α   (0: {ends[0]}, 1: {ends[1]})", quantity)
    series = curve["test", measure]
    axes.plot(series.alphas, series.mean, color=INK, lw=1.6, zorder=3)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    low, high = float(np.min(series.mean)), float(np.max(series.mean))
    axes.set_ylim(low - 0.12 * (high - low), high + 0.12 * (high - low))
    return figure, axes


def level(axes: Axes, height: float, first: float = 0.0, last: float = 1.0) -> None:
    """A dashed horizontal line."""
    axes.plot([first, last], [height, height], color=BLUE, lw=1, ls="--", zorder=2)


def height(axes: Axes, alpha: float, low: float, high: float) -> None:
    """A vertical arrow with two heads, from a loss to another."""
    axes.annotate(
        "",
        (alpha, high),
        (alpha, low),
        arrowprops={"arrowstyle": "<->", "color": RED, "lw": 1.6, "shrinkA": 0, "shrinkB": 0},
        zorder=4,
    )
    axes.plot([alpha, alpha], [low, high], color=RED, lw=1.6, zorder=4)  # also where the heads would not fit


def dot(axes: Axes, alpha: float, loss: float) -> None:
    """A point on a curve."""
    axes.plot([alpha], [loss], "o", color=RED, ms=6, zorder=5)
