"""One panel: style, limits, lines, labels, and marks for values outside it."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from linescape import atomic
from linescape.errors import StoreError

INK, SOFT, RULE, GRID = "#1c1f23", "#5b6168", "#aab0b7", "#e4e7ea"
BLUE, RED, GREEN, PINK, SKY, ORANGE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY)
"""Colours of the first six lines compared; the seventh has the first colour again, dashed."""

GROUPS: Mapping[str, str] = {
    "base": INK,
    "initialisation": RED,
    "data": PINK,
    "optimizer": GREEN,
    "model": SKY,
    "partial": ORANGE,
    "warm-up": BLUE,
}
"""The colour of a group of interventions, in every figure."""

ALPHA = "α (0 = start, 1 = end)"
CEILING = 2.0
"""Whole lines: losses above this multiple of the chance level leave the panel, marked, so that the rest is visible."""
BLOCK_CEILING = 4.0
"""The same for layer-wise lines."""

WIDE = 10.0  # inches; on the page about 960 px, so that 8.5 pt are about 11 px
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "linescape",
    "pdf.fonttype": 42,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a dollar in a name is a dollar
    # The layout is computed once, with SVG's text widths; in PNG long labels are some points wider.
    "figure.constrained_layout.w_pad": 0.1,
}


AT_RIGHT: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "ha": "right",
    "color": SOFT,
    "fontsize": 7,
}
"""Small words over a horizontal line, at the right edge."""


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the suffix (``.png``, ``.pdf``, ``.svg``) decides. The same figure gives the same bytes.

    Raises:
        StoreError: the suffix is none of these, or the file cannot be written.
    """
    path = Path(path)
    dates: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
    if path.suffix not in dates:
        raise StoreError(f"{path} ends in {path.suffix!r}. Figures are written as .png, .pdf or .svg.")
    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a page's own fonts may have it
        figure.savefig(drawn, format=path.suffix[1:], dpi=200, metadata=dates[path.suffix], facecolor="white")
    figure.set_layout_engine("none")  # the layout is done; repeating it for each format takes longest
    atomic.write(path, drawn.getvalue())
    return path


def frame(
    axes: Axes, measure: str, chance: float | None, drawn: pl.DataFrame, ceiling: float, named: bool = True
) -> float:
    """Set limits that contain what is drawn, and draw the chance level.

    Args:
        axes: the panel.
        measure: ``error`` and ``binary_error`` have the limits 0 and 100 %.
        chance: the chance level; None draws none.
        drawn: a column ``mean`` with the values of all lines.
        ceiling: losses above this multiple of `chance` leave the panel.
        named: label the chance level.

    Returns:
        The upper limit.
    """
    if measure in ("error", "binary_error"):
        top = 100.0
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_ylim(0, top)
    else:
        means = drawn["mean"].to_numpy()
        top = 1.06 * float(np.max(means[np.isfinite(means)], initial=0.0)) or 1.0
        if chance:
            top = max(1.15 * chance, min(top, ceiling * chance))
        axes.set_ylim(0, top)
    plain(axes, grid="y")
    if chance:
        axes.axhline(chance, color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=1)
        if named:
            axes.annotate("chance", (1, chance), (0, 2), **AT_RIGHT)
    return top


_quantities = {
    "cross_entropy": "loss (cross entropy), nats",
    "binary_cross_entropy": "loss (binary cross entropy), nats",
    "error": "error, %",
    "binary_error": "error, %",
    "squared_error": "squared error",
}


def quantity(axes: Axes, measure: str, lines: pl.DataFrame | None = None) -> None:
    """Write the measured quantity above a panel, with the name of the data set if there is only one."""
    axes.set_title(_words(measure, lines), loc="left", color=SOFT, fontsize=8.5, pad=8)


def around(figure: Figure, measure: str, lines: pl.DataFrame) -> None:
    """Write the measured quantity and the axis of alpha next to and below a grid of panels."""
    figure.supylabel(_words(measure, lines), color=SOFT, fontsize=8.5)
    figure.supxlabel(ALPHA, color=SOFT, fontsize=8.5)


def _words(measure: str, lines: pl.DataFrame | None) -> str:
    words = _quantities.get(measure, measure.replace("_", " "))
    data = [] if lines is None else lines["data"].unique().to_list()
    return f"{data[0]} {words}" if len(data) == 1 else words


def upper(frame: pl.DataFrame) -> pl.DataFrame:
    """The upper edge of the band in place of the mean."""
    return frame.with_columns(pl.col("mean") + 1.96 * pl.col("standard_error").fill_nan(0.0))


def plain(axes: Axes, grid: str) -> None:
    """Remove all spines but the bottom one, and draw a faint grid along `grid` (``x``, ``y``, ``both``)."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis=grid, color=GRID, lw=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=SOFT, pad=4)


def alpha_axis(axes: Axes, labels: bool = False, alphas: pl.Series | None = None) -> None:
    """The horizontal axis of a curve: quarters, or decimals and its name with `labels`; wider if `alphas` are."""
    axes.set_xlim(-0.01, 1.01)
    if alphas is not None:  # a probe may look beyond the two networks
        axes.set_xlim(min(-0.01, alphas.min()), max(1.01, alphas.max()))  # type: ignore[type-var, arg-type]
    axes.set_xticks(
        [0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"] if not labels else ["0", "0.25", "0.5", "0.75", "1"]
    )
    if labels:
        axes.set_xlabel(ALPHA, color=SOFT)


def title(axes: Axes, words: str) -> None:
    """The title of one panel of a grid."""
    axes.set_title(textwrap.fill(words, 27), loc="left", color=INK, fontsize=9, fontweight="bold", pad=6)


def line(axes: Axes, alphas: pl.Series, values: pl.Series, colour: str, width: float, style: str) -> list[Line2D]:
    """Draw one curve, with gaps where it is NaN or infinite.

    Args:
        axes: the panel.
        alphas: positions.
        values: at these positions.
        colour: of the line.
        width: of the line, in points.
        style: matplotlib's line style.

    Returns:
        The line, for a legend.
    """
    drawn = np.where(np.isfinite(values.to_numpy()), values.to_numpy(), np.nan)
    return axes.plot(alphas.to_numpy(), drawn, color=colour, lw=width, ls=style, solid_joinstyle="round", zorder=3)


def single_runs(axes: Axes, lines: pl.DataFrame, colour: str, top: float) -> None:
    """Draw single runs as thin lines, with their `marks`.

    Args:
        axes: the panel.
        lines: rows of `tables.Results.lines`.
        colour: of the lines.
        top: upper limit of the panel.
    """
    for _, run in lines.group_by(["seed"], maintain_order=True):
        line(axes, run["alpha"], run["mean"], colour, 0.7, "-")[0].set(alpha=0.45, zorder=2)
        marks(axes, run["alpha"], run["mean"], colour, top)


def marks(axes: Axes, alphas: pl.Series, values: pl.Series, colour: str, top: float) -> None:
    """Mark on the upper edge where a curve first and last leaves the panel (▲) and where it is NaN (×).

    Args:
        axes: the panel.
        alphas: positions.
        values: at these positions.
        colour: of the marks.
        top: upper limit of the panel.
    """
    edge = blended_transform_factory(axes.transData, axes.transAxes)
    for mark, where in (
        ("^", alphas.filter(values.is_not_nan() & (values > top))),
        ("x", alphas.filter(values.is_nan())),
    ):
        if len(where):
            ends = [where[0], where[-1]]
            axes.plot(ends, [1, 1], mark, transform=edge, color=colour, ms=4, mew=1, clip_on=False, zorder=4)


def notes(axes: Axes, lines: pl.DataFrame, top: float, measure: str) -> None:
    """Write a note in the panel on values that it does not show.

    Args:
        axes: the panel.
        lines: the rows drawn, with a column ``mean``.
        top: upper limit of the panel.
        measure: what is drawn; errors never leave the panel.
    """
    values = lines["mean"].to_numpy()
    texts = []
    if measure not in ("error", "binary_error") and (values > top).any():
        highest = float(np.nanmax(values))
        texts.append(f"▲ up to {'∞' if math.isinf(highest) else f'{highest:.3g}'}")
    if np.isnan(values).any():
        keys = [name for name in ("arm", "seed", "label") if name in lines.columns]
        lost = lines.filter(pl.col("mean").is_nan())
        count = lost.select(keys).unique().height if keys else 1
        texts.append(f"× NaN ({count} line{'s' * (count != 1)})")
    if texts:
        axes.text(
            0.99, 0.94, "   ".join(texts), transform=axes.transAxes, ha="right", va="top", color=SOFT, fontsize=7.5
        )


def names_beside(axes: Axes, drawn: Sequence[tuple[pl.DataFrame, str, str]]) -> None:
    """Names to the right of a panel, in the order of the lines at alpha = 0.75."""

    def loss(mean: pl.DataFrame) -> float:
        value = float(mean["mean"][int((mean["alpha"] - 0.75).abs().arg_min() or 0)])
        return value if math.isfinite(value) else math.inf

    ordered = sorted(drawn, key=lambda line: -loss(line[0]))
    step = min(0.115, 0.9 / max(1, len(ordered)))
    for index, (mean, colour, style) in enumerate(ordered):
        y = 0.93 - index * step
        axes.plot([1.03, 1.07], [y, y], color=colour, ls=style, lw=2, transform=axes.transAxes, clip_on=False)
        axes.annotate(mean["title"][0], (1.085, y), xycoords="axes fraction", color=INK, va="center", fontsize=8.5)


def _make_room(figure: Figure, rows: int) -> None:
    """Make a figure higher for a legend of more than three rows, and keep what is beside the panels next to them."""
    if rows > 3:
        row = 0.18  # inches
        height = figure.get_figheight() + row * (rows - 3)
        figure.set_figheight(height)
        if words := figure.get_supylabel():
            figure.supylabel(words, y=(height - row * rows) / 2 / height, color=SOFT, fontsize=8.5)


def key(figure: Figure, handles: Sequence[Line2D], words: Sequence[str]) -> None:
    """A legend above all panels, in one row, or in as many columns as fit; a long one makes the figure higher."""
    widths = [5 * len(word) + 30 for word in words]  # points, at this size of letters
    room = 72 * figure.get_figwidth()
    columns = max(1, len(words) if sum(widths) <= room else int(room / max(widths)))
    _make_room(figure, math.ceil(len(words) / columns))
    legend = figure.legend(
        handles,
        [" "] * len(words),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        labelcolor=INK,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.6,
        borderaxespad=0.2,
        fontsize=8.5,
    )
    for label, word in zip(legend.get_texts(), words, strict=True):
        label.set_text(word)  # afterwards, since matplotlib leaves out what begins with an underscore


def group_key(figure: Figure, axes: Axes, groups: Sequence[str]) -> None:
    """The colours of groups of interventions above the panels."""
    handles = [axes.plot([], [], "o", color=of_group(name), ms=5, mec="none")[0] for name in groups]
    key(figure, handles, groups)


def grid(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels (at least one), `height` inches each, at most `columns` in a row."""
    columns = max(1, min(columns, count))
    rows = max(1, math.ceil(count / columns))
    figure = Figure((WIDE * (columns / 3 if columns < 3 else 1), 0.45 + height * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False, sharex=False)
    for axes in cells.flat[count:]:
        axes.set_visible(False)
    return figure, list(cells.flat[: max(1, count)])


def look(index: int) -> tuple[str, str]:
    """Colour and line style of the line with this index."""
    return COLOURS[index % len(COLOURS)], ("-", "--", ":")[index // len(COLOURS) % 3]


def chance_level(runs: pl.DataFrame, arms: Sequence[str], measure: str) -> float | None:
    """The chance level, if these arms share it."""
    column = {"cross_entropy": "chance_loss", "error": "chance_error"}.get(measure)
    if column is None:
        return None
    levels = runs.filter(pl.col("arm").is_in(arms))[column].unique()
    return levels[0] if len(levels) == 1 else None


def alike(lines: pl.DataFrame, runs: pl.DataFrame, arm: str) -> pl.DataFrame:
    """The lines of all arms with the same test set as `arm`, which share its axis limits."""
    sets = runs.filter(pl.col("arm") == arm)["test_set"].unique().to_list()
    return lines.filter(pl.col("arm").is_in(runs.filter(pl.col("test_set").is_in(sets))["arm"].to_list()))


def of_group(name: str) -> str:
    """The colour of a group of interventions."""
    return GROUPS.get(name, BLUE)
