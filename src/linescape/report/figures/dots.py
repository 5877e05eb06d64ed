"""Statistics of runs: a dot for each run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linescape.report.figures import panel
from linescape.report.figures.panel import COLOURS, INK, RULE, SOFT, STYLE, WIDE
from linescape.shape.definitions import DEFINITIONS, DISTANCES


@matplotlib.rc_context(STYLE)
def accuracy(table: pl.DataFrame, runs: pl.DataFrame, reference: str = "") -> Figure:
    """Test accuracy by arm: a dot for each run, a tick for the mean, a bar for the interval of the mean.

    Args:
        table: `tables.accuracy` or `tables.partial`, one row each, from top to bottom.
        runs: `tables.Results.runs`.
        reference: an arm whose mean is drawn through all rows.
    """
    measured = table.filter(pl.col("n") > 0)
    figure = Figure((WIDE * 0.72, 0.7 + 0.24 * max(1, measured.height)), layout="constrained")
    axes = figure.subplots()
    groups = measured["group"].unique(maintain_order=True).to_list()
    dots = runs.filter((pl.col("status") != "diverged") & pl.col("test_accuracy").is_not_null())
    shown = dots.filter(pl.col("arm").is_in(measured["arm"].to_list()))["test_accuracy"].to_numpy()
    left, right = (float(shown.min()), float(shown.max())) if shown.size else (0.0, 100.0)
    room = max(0.5, 0.25 * (right - left))
    left, right = max(0.0, left - room), min(100.0 + 0.1 * room, right + room)
    for y, row in enumerate(measured.iter_rows(named=True)):
        colour = panel.of_group(row["group"])
        subset = dots.filter(pl.col("arm") == row["arm"])["test_accuracy"].to_numpy()
        low, high = row["low"], row["high"]
        if math.isfinite(low):
            axes.plot([max(low, left), min(high, right)], [y, y], color=colour, lw=5, alpha=0.22, solid_capstyle="butt")
            for cut, edge, mark in ((low < left, left, "<"), (high > right, right, ">")):
                if cut:
                    axes.plot(edge, y, mark, color=colour, ms=4, mec="none", clip_on=False)
        axes.plot(subset, np.full(subset.size, y), "o", color=colour, ms=3.6, mec="none", alpha=0.75)
        axes.plot(row["mean"], y, "|", color=colour, ms=11, mew=2)
    if reference in measured["arm"]:
        mean = float(measured.filter(pl.col("arm") == reference)["mean"][0])
        axes.axvline(mean, color=RULE, lw=0.8, zorder=0)
    axes.set_ylim(measured.height - 0.4, -0.6)
    axes.set_xlim(left, right)
    if len(groups) > 2:
        panel.group_key(figure, axes, groups)
    axes.set_yticks(range(measured.height), measured["title"].to_list())
    axes.set_xlabel("test accuracy, %", color=SOFT)
    panel.plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines["left"].set_visible(False)
    return figure


@matplotlib.rc_context(STYLE)
def shape_against_accuracy(runs: pl.DataFrame, numbers: Sequence[str], notes: Mapping[str, str]) -> Figure:
    """A panel for each shape statistic: test accuracy against it, a dot for each run, coloured by group.

    Args:
        runs: `tables.Results.runs`.
        numbers: names of shape statistics.
        notes: text above a panel, such as a correlation, by name of the statistic.
    """
    figure, panels = panel.grid(len(numbers), columns=3, height=2.5)
    groups = runs["group"].unique(maintain_order=True).to_list()
    for axes, number in zip(panels, numbers, strict=False):
        finite = runs.filter(pl.col(f"test_{number}").is_finite() & pl.col("test_accuracy").is_finite())
        for name in groups:
            subset = finite.filter(pl.col("group") == name)
            axes.plot(
                subset[f"test_{number}"],
                subset["test_accuracy"],
                "o",
                color=panel.of_group(name),
                ms=4.5,
                mec="none",
                alpha=0.8,
            )
        left_out = runs[f"test_{number}"].drop_nulls().len() - finite.height
        unit = DEFINITIONS[number].unit
        axes.set_xlabel(f"{DEFINITIONS[number].label}{f', {unit}' if unit else ''}", color=SOFT)
        axes.locator_params(axis="x", nbins=4)  # small numbers have long labels
        note = notes.get(number, "") + (f"   ({left_out} not finite, not drawn)" if left_out else "")
        axes.set_title(note, loc="left", fontsize=8, color=INK)
        panel.plain(axes, grid="both")
    for axes in panels[::3]:
        axes.set_ylabel("test accuracy, %", color=SOFT)
    panel.group_key(figure, panels[0], groups)
    return figure


@matplotlib.rc_context(STYLE)
def distance_against_rise(runs: pl.DataFrame, tolerance: float) -> Figure:
    """The largest rise of each run's line against the distance moved; dotted: up to here a line counts as monotone."""
    figure = Figure((WIDE * 0.85, 3.3), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    groups = runs["group"].unique(maintain_order=True).to_list()
    for axes, distance in zip(panels, ("relative_distance", "distance"), strict=True):
        finite = runs.filter(pl.col(distance).is_finite() & pl.col("test_min_delta").is_finite())
        for name in groups:
            subset = finite.filter(pl.col("group") == name)
            axes.plot(
                subset[distance],
                subset["test_min_delta"],
                "o",
                color=panel.of_group(name),
                ms=4.5,
                mec="none",
                alpha=0.8,
            )
        axes.axhline(tolerance, color=SOFT, lw=0.9, ls=(0, (1, 2)))
        axes.set_xlabel(f"{DISTANCES[distance].label}  {DISTANCES[distance].formula}", color=SOFT)
        panel.plain(axes, grid="both")
    panels[0].set_ylabel("min Δ (largest rise), nats", color=SOFT)
    panels[1].annotate("above: not monotone", (1, tolerance), (0, 2), **panel.AT_RIGHT)
    panel.group_key(figure, panels[0], groups)
    return figure


@matplotlib.rc_context(STYLE)
def distances(table: pl.DataFrame) -> Figure:
    """Relative distance moved by arm: a tick for all parameters, a dot for each block; mean over runs.

    `table`: columns title, block (``all`` for the tick), relative_distance; rows from top to bottom.
    """
    titles = table["title"].unique(maintain_order=True).to_list()
    blocks = [block for block in table["block"].unique(maintain_order=True) if block != "all"]
    figure = Figure((WIDE * 0.72, 0.9 + 0.3 * max(1, len(titles))), layout="constrained")
    axes = figure.subplots()
    handles = []
    for index, block in enumerate(["all", *blocks]):
        subset = table.filter((pl.col("block") == block) & pl.col("relative_distance").is_finite())
        # Blocks of a row stand a little below each other, from input to output, so that none hides another.
        shift = 0.0 if block == "all" else 0.6 * (index / (len(blocks) + 1) - 0.5)
        rows = [titles.index(title) + shift for title in subset["title"]]
        look = ("|", INK, 16) if block == "all" else ("o", COLOURS[(index - 1) % 6], 4.5)
        handles += axes.plot(
            subset["relative_distance"], rows, look[0], color=look[1], ms=look[2], mew=1.4 * (block == "all")
        )
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("relative distance  ‖θ₁ − θ₀‖ / ‖θ₀‖, mean over runs", color=SOFT)
    panel.plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.spines["left"].set_visible(False)
    panel.key(figure, handles, ["all parameters", *blocks])
    return figure
