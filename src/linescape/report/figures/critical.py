"""Criticality: a dot for each run, of modules from input to output, and of networks against their gap."""

from __future__ import annotations

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from linescape.report.figures import panel
from linescape.report.figures.panel import COLOURS, INK, SOFT, STYLE, WIDE

WORDS = "criticality  α² ‖θ₁ − θ₀‖² / σ²"


@matplotlib.rc_context(STYLE)
def of_modules(runs: pl.DataFrame) -> Figure:
    """A row for each module, a dot for each run in the colour of its kind; 0 and infinity at the edges.

    Args:
        runs: ``module``, ``kind`` in words, of the module or of the network, and ``mu``.
    """
    modules = runs["module"].unique(maintain_order=True).to_list()
    kinds = runs["kind"].unique(maintain_order=True).to_list()
    figure = Figure((WIDE * 0.72, 0.9 + 0.27 * max(1, len(modules))), layout="constrained")
    axes = figure.subplots()
    handles = []
    shifts = _shifts(runs)
    for index, kind in enumerate(kinds):
        of_kind = runs.filter(kind=kind)
        rows = [modules.index(module) + shifts[index] for module in of_kind["module"]]
        colour = COLOURS[(index - 1) % len(COLOURS)] if index else INK
        handles.append(_dots(axes, runs["mu"].to_numpy(), of_kind["mu"].to_numpy(), rows, colour))
    axes.set_yticks(range(len(modules)), modules)
    axes.set_ylim(len(modules) - 0.4, -0.6)
    axes.set_xlabel(WORDS, color=SOFT)
    panel.plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines["left"].set_visible(False)
    panel.key(figure, handles, kinds)
    return figure


def _shifts(runs: pl.DataFrame) -> list[float]:
    """How far below a module's row each kind lies: 0 where each module is of one kind."""
    kinds = runs["kind"].n_unique()
    apart = 0.24 if runs.select("module", "kind").unique().height > runs["module"].n_unique() else 0.0
    return [apart * (index - (kinds - 1) / 2) for index in range(kinds)]


@matplotlib.rc_context(STYLE)
def of_networks(runs: pl.DataFrame) -> Figure:
    """The generalisation gap against the criticality, a dot for each run in the colour of its network.

    Args:
        runs: ``title``, ``mu`` and ``gap``.
    """
    figure = Figure((WIDE * 0.72, 3.2), layout="constrained")
    axes = figure.subplots()
    titles = runs["title"].unique(maintain_order=True).to_list()
    handles = []
    for index, title in enumerate(titles):
        of_network = runs.filter(title=title)
        colour = COLOURS[index % len(COLOURS)] if index else INK
        values, gaps = of_network["mu"].to_numpy(), of_network["gap"].to_numpy()
        handles.append(_dots(axes, runs["mu"].to_numpy(), values, gaps, colour))
    axes.set_xlabel(f"{WORDS}, sum over modules", color=SOFT)
    axes.set_ylabel("test error − training error, points", color=SOFT)
    panel.plain(axes, grid="both")
    panel.key(figure, handles, titles)
    return figure


def _dots(axes: Axes, every: np.ndarray, values: np.ndarray, heights: ArrayLike, colour: str) -> Line2D:
    """Dots on a logarithmic axis; arrows at its edges for 0 and infinity, of `every` value that is drawn on it."""
    inside = every[np.isfinite(every) & (every > 0)]
    low, high = (float(inside.min()) / 3, float(inside.max()) * 3) if inside.size else (0.1, 10.0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(which="minor", length=0)
    axes.set_xlim(low, high)
    places = np.asarray(heights, float)
    for mark, chosen, at in (("<", values == 0, low), (">", np.isinf(values), high)):
        axes.plot(np.full(chosen.sum(), at), places[chosen], mark, color=colour, ms=5, mec="none", clip_on=False)
    shown = (values > 0) & np.isfinite(values)
    (dots,) = axes.plot(values[shown], places[shown], "o", color=colour, ms=4.5, mec="none", alpha=0.75)
    return dots
