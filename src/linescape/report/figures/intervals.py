"""Estimates with their intervals: by group of interventions, by run, and by definition and treatment."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from linescape.report.figures import panel
from linescape.report.figures.panel import BLUE, GRID, INK, RED, RULE, SOFT, STYLE, WIDE
from linescape.shape.definitions import DEFINITIONS


@matplotlib.rc_context(STYLE)
def correlations(numbers: pl.DataFrame, groups: pl.DataFrame, chosen: Sequence[str]) -> Figure:
    """A panel for each chosen shape statistic: rank correlation over all runs, by group and without each group.

    Args:
        numbers: `Answer.numbers` of ``shape-and-accuracy``.
        groups: its `Answer.groups`.
        chosen: names of shape statistics, in the order of the panels.
    """
    names = groups["group"].unique(maintain_order=True).to_list()
    rows = ["all runs", "within groups, pooled", *names]
    figure, panels = panel.grid(len(chosen), columns=3, height=0.75 + 0.24 * len(rows))
    for index, (axes, number) in enumerate(zip(panels, chosen, strict=False)):
        whole = numbers.filter(pl.col("number") == number).row(0, named=True)
        _estimate(axes, 0, whole["spearman"], whole["low"], whole["high"], INK, True)
        _estimate(axes, 1, whole["grouped"], whole["grouped_low"], whole["grouped_high"], INK, True)
        for y, row in enumerate(groups.filter(pl.col("number") == number).iter_rows(named=True), 2):
            colour = panel.of_group(row["group"])
            _estimate(axes, y - 0.16, row["inside"], row["inside_low"], row["inside_high"], colour, True)
            _estimate(axes, y + 0.16, row["without"], row["without_low"], row["without_high"], colour, False)
        axes.axvline(0, color=RULE, lw=0.9, zorder=0)
        axes.axhline(1.5, color=GRID, lw=0.7, zorder=0)
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.set_xlim(-1.03, 1.03)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
        axes.set_yticks(range(len(rows)), rows if index % 3 == 0 else [""] * len(rows))
        axes.set_title(DEFINITIONS[number].label, loc="left", fontsize=8.5, color=INK)
        panel.plain(axes, grid="x")
        axes.tick_params(axis="y", labelcolor=INK)
    for axes in panels[-3:]:
        axes.set_xlabel("Spearman's ρ with test accuracy", color=SOFT)
    handles = [
        Line2D([], [], marker="o", ls="", ms=4.5, color=SOFT),
        Line2D([], [], marker="o", ls="", ms=4.5, mfc="white", color=SOFT),
    ]
    panel.key(figure, handles, ["within this group alone", "all runs except this group's"])
    return figure


@matplotlib.rc_context(STYLE)
def rises(runs: pl.DataFrame, statistics: pl.DataFrame, tolerance: float) -> Figure:
    """The largest rise of each run's line with its interval over the examples, arm by arm.

    Args:
        runs: `tables.rising`; filled dots are runs whose line rises significantly.
        statistics: `tables.Results.statistics`, with intervals.
        tolerance: rise up to which a line counts as monotone, in nats; dotted.
    """
    intervals = statistics.filter((pl.col("number") == "min_delta") & pl.col("low").is_not_null())
    shown = runs.join(
        intervals.select("arm", "seed", "value", "low", "high"), on=["arm", "seed"], maintain_order="left"
    )
    shown = shown.filter(pl.col("value").is_finite())
    arms = shown.unique("arm", maintain_order=True)
    figure = Figure((WIDE * 0.85, 0.8 + 0.27 * max(1, arms.height)), layout="constrained")
    axes = figure.subplots()
    for y, (arm, group) in enumerate(arms.select("arm", "group").iter_rows()):
        of_arm = shown.filter(pl.col("arm") == arm)
        step = min(0.2, 0.7 / max(1, of_arm.height - 1))
        for index, row in enumerate(of_arm.iter_rows(named=True)):
            offset = step * (index - (of_arm.height - 1) / 2)
            _estimate(
                axes, y + offset, row["value"], max(0.0, row["low"]), row["high"], panel.of_group(group), row["rises"]
            )
    axes.axvline(tolerance, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=0)
    # Most rises are near zero and a few are large: linear up to the tolerance, then logarithmic.
    axes.set_xscale("symlog", linthresh=tolerance, linscale=0.6)
    axes.set_xlim(left=-0.1 * tolerance)
    ticks = [0.0, tolerance, *(t for t in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0) if t < axes.get_xlim()[1])]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(arms.height), arms["title"].to_list())
    axes.set_ylim(arms.height - 0.4, -0.6)
    axes.set_xlabel("min Δ (largest rise), nats; linear up to the dotted line, then logarithmic", color=SOFT)
    panel.plain(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)
    groups = arms["group"].unique(maintain_order=True).to_list()
    if len(groups) > 2:
        panel.group_key(figure, axes, groups)
    return figure


@matplotlib.rc_context(STYLE)
def choices(table: pl.DataFrame) -> Figure:
    """A panel for each question, a cell for each definition of the barrier under each treatment of BatchNorm.

    `table`: `Answer.numbers` of ``barrier-and-batchnorm``. Red where the interval lies above the value of no effect,
    blue below, grey where it includes it; white without an interval. The framed cell is that of the other answers.
    """
    questions = table["question"].unique(maintain_order=True).to_list()
    labels = table["label"].unique(maintain_order=True).to_list()
    treatments = table["batchnorm"].unique(maintain_order=True).to_list()
    columns = min(len(questions), 2 if len(treatments) > 2 else 3) or 1
    rows = math.ceil(len(questions) / columns)
    figure = Figure((WIDE, 0.2 + rows * (0.75 + 0.36 * len(labels))), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(questions) :]:
        axes.set_visible(False)
    tints = {"+": (RED, 0.3), "−": (BLUE, 0.3), "inconclusive": (RULE, 0.25)}
    for index, (axes, question) in enumerate(zip(panels, questions, strict=False)):
        for row in table.filter(pl.col("question") == question).iter_rows(named=True):
            x, y = treatments.index(row["batchnorm"]), labels.index(row["label"])
            if row["sign"] in tints:
                colour, strength = tints[row["sign"]]
                axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=colour, alpha=strength, lw=0))
            if row["main"]:
                axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, fill=False, ec=INK, lw=1.2))
            known = math.isfinite(row["low"])
            strong = "bold" if row["stands"] else "normal"
            axes.text(x, y - 0.14 * known, _short(row["value"]), ha="center", va="center", fontsize=8, color=INK,
                      fontweight=strong)  # fmt: skip
            if known:
                words = f"{_short(row['low'])} to {_short(row['high'])}"
                axes.text(x, y + 0.23, words, ha="center", va="center", fontsize=6, color=SOFT)
        axes.set_xlim(-0.5, len(treatments) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xticks(range(len(treatments)), treatments)
        axes.xaxis.tick_top()
        axes.set_yticks(range(len(labels)), labels if index % columns == 0 else [""] * len(labels))
        axes.set_title(textwrap.fill(question, 60), loc="left", fontsize=8.5, color=INK, pad=8)
        panel.plain(axes, grid="x")
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", labelcolor=INK)
    return figure


def _estimate(axes: Axes, y: float, value: float, low: float, high: float, colour: str, filled: bool | None) -> None:
    """A dot and the bar of its interval; nothing where the value is not finite."""
    if not math.isfinite(value):
        return
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [y, y], color=colour, lw=1.1, alpha=0.75, solid_capstyle="butt")
    axes.plot(value, y, "o", color=colour, ms=3.6, mew=0.9, mfc=colour if filled else "white", zorder=3)


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    text = f"{value:.2f}" if size < 9.95 else f"{value:.0f}" if size < 9999.5 else f"{value:.0e}".replace("e+0", "e")
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")
