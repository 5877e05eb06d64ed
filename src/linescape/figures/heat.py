"""Many layers at once: a row of colours for each layer's line."""

from __future__ import annotations

import matplotlib
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from linescape.figures import panel
from linescape.figures.panel import BLOCK_CEILING, INK, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def layers(means: pl.DataFrame, chance: float | None) -> Figure:
    """Test loss over alpha (across) and layers (down, from input to output), after Chatterji et al. 2020.

    Args:
        means: `tables.means` of the lines of one arm's layers under one treatment, a label each.
        chance: level of guessing in nats; the colours end at `panel.BLOCK_CEILING` times it, or at the highest loss.
    """
    lines = means.filter(pl.col("measure") == "cross_entropy")
    names = lines["label"].unique(maintain_order=True).to_list()
    alphas = lines.filter(pl.col("label") == names[0])["alpha"].to_numpy()
    losses = np.stack([lines.filter(pl.col("label") == name)["mean"].to_numpy() for name in names])
    highest = float(np.max(losses[np.isfinite(losses)], initial=0.0)) or 1.0
    top = min(highest, BLOCK_CEILING * chance) if chance else highest
    figure = Figure((WIDE * 0.72, 0.9 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    edges = np.concatenate([alphas[:1], (alphas[1:] + alphas[:-1]) / 2, alphas[-1:]])
    # Grey shows through where the mean is NaN or infinite.
    axes.set_facecolor(panel.GRID)
    shown = np.ma.masked_invalid(losses)
    colours = axes.pcolormesh(
        edges, np.arange(len(names) + 1), shown, cmap="viridis", vmin=0.0, vmax=top, rasterized=True
    )
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
            "guessing", (2.3, chance), xycoords=("axes fraction", "data"), color=SOFT, fontsize=7, va="center"
        )
    return figure
