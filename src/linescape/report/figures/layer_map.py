"""A heat map of a statistic: layers from input to output, and what was done to each across."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, GRID, INK, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def layer_cells(
    rows: pl.DataFrame, across: str, value: str, quantity: str, beside: tuple[str, str] | None = None
) -> Figure:
    """A cell with its value for each layer and each of `across`, and at the right a statistic of layers as bars.

    Args:
        rows: ``layer``, `across`, `value` and, if asked for, the statistic of `beside`.
        across: the column whose values are the columns of the map, in their order.
        value: what is shown; grey where it is NaN or infinite.
        quantity: what it is, with its unit, above the map.
        beside: a column of a layer's own, and its words.
    """
    layers = rows["layer"].unique(maintain_order=True).to_list()
    names = rows[across].unique(maintain_order=True).to_list()
    cells = np.full((len(layers), len(names)), math.nan)
    for layer, name, height in rows.select("layer", across, value).iter_rows():
        cells[layers.index(layer), names.index(name)] = height
    width = 1.9 + 0.95 * len(names)
    figure = Figure((min(WIDE, width + (2.6 if beside else 0)), 1.0 + 0.27 * len(layers)), layout="constrained")
    shares = [width, 2.2] if beside else [1]
    axes, *others = figure.subplots(1, len(shares), sharey=True, squeeze=False, width_ratios=shares)[0]
    finite = cells[np.isfinite(cells)]
    low, high = min(0.0, float(finite.min(initial=0.0))), max(float(finite.max(initial=0.0)), 1e-9)
    axes.pcolormesh(np.ma.masked_invalid(cells), cmap="viridis", vmin=low, vmax=high, rasterized=True)
    for (row, column), height in np.ndenumerate(cells):
        if not math.isfinite(height):
            axes.add_patch(Rectangle((column, row), 1, 1, color=GRID, lw=0))
            continue
        words = f"{height:.1f}".replace("-", "−").replace("−0.0", "0.0")
        ink = INK if height > low + 0.6 * (high - low) else "#fdfdfb"
        axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", color=ink, fontsize=7.5)
    axes.set_ylim(len(layers), 0)
    axes.set_xticks(np.arange(len(names)) + 0.5, names)
    axes.set_yticks(np.arange(len(layers)) + 0.5, layers)
    axes.set_title(quantity, loc="left", color=SOFT, fontsize=8.5, pad=8)
    axes.tick_params(length=0, labelcolor=INK, pad=4)
    axes.spines[:].set_visible(False)
    for bars in others:
        assert beside is not None
        of_layer = rows.unique("layer", maintain_order=True)[beside[0]].to_numpy()
        bars.barh(np.arange(len(layers)) + 0.5, of_layer, 0.62, color=BLUE, alpha=0.55, lw=0)
        bars.set_title(beside[1], loc="left", color=SOFT, fontsize=8.5, pad=8)
        panel.plain(bars, grid="x")
        bars.tick_params(axis="y", labelleft=False)
    return figure
