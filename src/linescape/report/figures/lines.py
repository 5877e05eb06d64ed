"""Curves: the lines of a study's arms, of two networks, and from several networks to one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from linescape.interpolation.curve import Curve
from linescape.report.figures import panel
from linescape.report.figures.panel import BLOCK_CEILING, CEILING, INK, RULE, SOFT, STYLE, WIDE


@matplotlib.rc_context(STYLE)
def group(
    lines: pl.DataFrame, means: pl.DataFrame, runs: pl.DataFrame, arms: Sequence[str], behind: Sequence[str] = ()
) -> Figure:
    """The whole lines of some arms in one panel each for loss and error: single runs thin, means thick.

    Args:
        lines: `tables.Results.lines` of one data set, BatchNorm treatment and kind.
        means: `tables.means` of them.
        runs: `tables.Results.runs`, for the chance level.
        arms: names in the order of their colours.
        behind: arms whose means are drawn in grey behind them, the baselines.
    """
    figure = Figure((WIDE, 3.3), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2)
    behind = [name for name in behind if name not in arms]
    names = [*behind, *arms]
    for axes, measure in zip(panels, ("cross_entropy", "error"), strict=True):
        chosen = (pl.col("measure") == measure) & pl.col("arm").is_in(names)
        single, mean = lines.filter(chosen), means.filter(chosen)
        top = panel.frame(axes, measure, panel.chance_level(runs, names, measure), single, CEILING)
        panel.quantity(axes, measure, single)
        panel.alpha_axis(axes, labels=True)
        drawn = []
        for name in names:
            subset = mean.filter(pl.col("arm") == name)
            colour, style = (
                panel.look(arms.index(name)) if name in arms else (RULE, ("-", "--")[behind.index(name) % 2])
            )
            if name in arms:
                panel.single_runs(axes, single.filter(pl.col("arm") == name), colour, top)
            if subset.height:
                panel.line(axes, subset["alpha"], subset["mean"], colour, 2.0, style)
                drawn.append((subset, colour, style))
        panel.notes(axes, single.filter(pl.col("arm").is_in(arms)), top, measure)
        if measure == "error":
            panel.names_beside(axes, drawn)
    return figure


@matplotlib.rc_context(STYLE)
def overview(lines: pl.DataFrame, means: pl.DataFrame, runs: pl.DataFrame) -> Figure:
    """A panel for each arm: loss on its whole line, single runs thin, mean thick, its baseline's mean in grey.

    Arguments as `group`; a panel for each arm of `runs`, empty where nothing is measured.
    """
    arms = runs.unique("arm", maintain_order=True)
    figure, panels = panel.grid(arms.height, columns=4, height=1.8)
    lines, means = (frame.filter(pl.col("measure") == "cross_entropy") for frame in (lines, means))
    for axes, arm in zip(panels, arms.iter_rows(named=True), strict=False):
        single, mean = (frame.filter(pl.col("arm") == arm["arm"]) for frame in (lines, means))
        colour = panel.of_group(arm["group"])
        alike = panel.alike(lines, runs, arm["arm"])
        top = panel.frame(axes, "cross_entropy", arm["chance_loss"], alike, CEILING, named=axes is panels[0])
        panel.alpha_axis(axes)
        panel.title(axes, arm["title"])
        if not single.height:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=SOFT)
            continue
        base = means.filter((pl.col("arm") == arm["baseline"]) & (pl.col("arm") != arm["arm"]))
        if base.height and panel.alike(base, runs, arm["arm"]).height:
            panel.line(axes, base["alpha"], base["mean"], RULE, 1.6, "-")
        panel.single_runs(axes, single, colour, top)
        panel.line(axes, mean["alpha"], mean["mean"], colour, 1.8, "-")
        panel.notes(axes, single, top, "cross_entropy")
    panel.around(figure, "cross_entropy", lines)
    return figure


@matplotlib.rc_context(STYLE)
def parts(
    lines: pl.DataFrame,
    means: pl.DataFrame,
    runs: pl.DataFrame,
    by: str = "label",
    measure: str = "cross_entropy",
    first: Iterable[str] = ("whole",),
    columns: int = 3,
) -> Figure:
    """A panel for each arm, a colour for each value of `by`: layer-wise lines, or BatchNorm treatments.

    Args:
        lines: `tables.Results.lines` of one data set; panels are its arms.
        means: `tables.means` of them.
        runs: `tables.Results.runs`, for the chance level.
        by: the column whose values are compared.
        measure: ``cross_entropy`` or ``error``.
        first: values of `by` drawn in ink instead of a colour.
        columns: panels in a row.
    """
    lines, means = (frame.filter(pl.col("measure") == measure) for frame in (lines, means))
    arms = lines.unique("arm", maintain_order=True)
    figure, panels = panel.grid(arms.height, columns, height=2.4)
    values = lines[by].unique(maintain_order=True).to_list()
    coloured = [value for value in values if value not in first]
    looks = {v: (INK, "-") if v in first else panel.look(coloured.index(v)) for v in values}
    for axes, (name, title) in zip(panels, arms.select("arm", "title").iter_rows(), strict=False):
        single, mean = (frame.filter(pl.col("arm") == name) for frame in (lines, means))
        chance, alike = panel.chance_level(runs, [name], measure), panel.alike(lines, runs, name)
        top = panel.frame(axes, measure, chance, alike, BLOCK_CEILING, named=axes is panels[0])
        panel.alpha_axis(axes, alphas=lines["alpha"])
        panel.title(axes, title)
        for value, (colour, style) in looks.items():
            panel.single_runs(axes, single.filter(pl.col(by) == value), colour, top)
            subset = mean.filter(pl.col(by) == value)
            panel.line(axes, subset["alpha"], subset["mean"], colour, 1.8, style)
        panel.notes(axes, single, top, measure)
    panel.around(figure, measure, lines)
    handles = [panels[0].plot([], [], color=colour, ls=style, lw=2)[0] for colour, style in looks.values()]
    panel.key(figure, handles, ["whole network" if value == "whole" else value for value in values])
    return figure


@matplotlib.rc_context(STYLE)
def probe(curve: Curve, classes: int | None = None, axes: Sequence[Axes] = ()) -> Figure:
    """One curve, a line for each data set and BatchNorm treatment: mean over examples ± 1.96 standard errors.

    Args:
        curve: the curve.
        classes: number of classes, to draw the chance level.
        axes: to draw into, one for each measure; by default those of a new figure.
    """
    frame = curve.frame()
    several = frame["batchnorm"].n_unique() > 1
    series = {
        f"{data}, {treatment}" if several else data: frame.filter(
            (pl.col("data") == data) & (pl.col("batchnorm") == treatment)
        )
        for data, treatment in frame.select("data", "batchnorm").unique(maintain_order=True).iter_rows()
    }
    drawn = len(axes[0].lines) if axes else 0
    looks = [panel.look(drawn + index) for index in range(len(series))]
    return _bands(series, looks, classes, CEILING, given=axes)


@matplotlib.rc_context(STYLE)
def blocks(curves: Mapping[str, Curve], data: str, batchnorm: str, classes: int | None = None) -> Figure:
    """Layer-wise lines of two networks in one panel, the line ``whole`` in black; otherwise as `probe`.

    Args:
        curves: by label.
        data: the data set to show.
        batchnorm: the treatment of BatchNorm to show.
        classes: number of classes, to draw the chance level.
    """
    series = {
        "whole network" if label == "whole" else label: curve.frame().filter(
            (pl.col("data") == data) & (pl.col("batchnorm") == batchnorm)
        )
        for label, curve in curves.items()
    }
    coloured = [label for label in curves if label != "whole"]
    looks = [(INK, "-") if label == "whole" else panel.look(coloured.index(label)) for label in curves]
    return _bands(series, looks, classes, BLOCK_CEILING)


@matplotlib.rc_context(STYLE)
def fan(curves: Mapping[str, Curve], data: str, batchnorm: str, classes: int | None = None) -> Figure:
    """The lines from several networks to one, in colours from the first to the last.

    Of more than nine lines, seven are named and none has a band; otherwise as `probe`.

    Args:
        curves: by the name of their start.
        data: the data set to show.
        batchnorm: the treatment of BatchNorm to show.
        classes: number of classes, to draw the chance level.
    """
    series = {
        name: curve.frame().filter((pl.col("data") == data) & (pl.col("batchnorm") == batchnorm))
        for name, curve in curves.items()
    }
    shades = matplotlib.colormaps["plasma"](np.linspace(0.15, 0.85, len(series)))
    looks = [(to_hex(shade), "-") for shade in shades]
    named = None if len(series) <= 9 else np.linspace(0, len(series) - 1, 7).round().astype(int).tolist()
    return _bands(series, looks, classes, BLOCK_CEILING, named)


def _bands(
    series: Mapping[str, pl.DataFrame],
    looks: Sequence[tuple[str, str]],
    classes: int | None,
    ceiling: float,
    named: Sequence[int] | None = None,
    given: Sequence[Axes] = (),
) -> Figure:
    """All lines with bands and names, or, if `named` gives some of them, without bands and with these names.

    Into axes that are `given`, beside what is there.
    """
    together = pl.concat(series.values())
    measures = together["measure"].unique(maintain_order=True).to_list()
    figure = Figure((WIDE * (1 if len(measures) > 1 else 0.6), 3.5), layout="constrained")
    panels: Sequence[Axes] = given or list(np.atleast_1d(figure.subplots(1, len(measures))))
    chances = {"cross_entropy": math.log(classes), "error": 100 * (1 - 1 / classes)} if classes else {}
    handles = []
    for axes, measure in zip(panels, measures, strict=True):
        drawn = together.filter(pl.col("measure") == measure)
        reach = drawn if named else panel.upper(drawn)
        before = axes.dataLim.bounds if axes.lines else None
        highest = axes.get_ylim()[1]
        top = panel.frame(axes, measure, chances.get(measure), reach, ceiling)
        panel.quantity(axes, measure, None if given else together)
        panel.alpha_axis(axes, labels=True, alphas=together["alpha"])
        if before:
            top = max(top, highest)
            axes.set_ylim(0, top)
            axes.set_xlim(min(axes.get_xlim()[0], before[0]), max(axes.get_xlim()[1], before[0] + before[2]))
        for (colour, style), frame in zip(looks, series.values(), strict=True):
            subset = frame.filter(pl.col("measure") == measure)
            mean, error = subset["mean"].to_numpy(), subset["standard_error"].to_numpy()
            if named is None:
                axes.fill_between(
                    subset["alpha"], mean - 1.96 * error, mean + 1.96 * error, color=colour, alpha=0.16, lw=0
                )
            handles += panel.line(axes, subset["alpha"], subset["mean"], colour, 1.7, style)
            panel.marks(axes, subset["alpha"], subset["mean"], colour, top)
        panel.notes(axes, drawn, top, measure)
    if given:
        for axes in given:
            for handle, name in zip([line for line in handles if line.axes is axes], series, strict=True):
                handle.set_label(name)
        given[0].legend(frameon=False, labelcolor=INK)
        return figure
    shown = range(len(series)) if named is None else named
    panel.key(figure, [handles[index] for index in shown], [list(series)[index] for index in shown])
    return figure
