"""Pictures of the statistics of a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import linescape as ls
from linescape.report.figures.panel import BLUE, RED, SOFT
from scripts.method_pictures import runs
from scripts.method_pictures.panels import Picture, dot, height, level, line_panel

APART = ("longer trained", "shorter trained")
RANDOM = ("random start", "trained")
OVERFITTED = ("random start", "overfitted")
Mark = Callable[[Axes, NDArray[np.float64], NDArray[np.float64]], None]
"""Draws into a panel what a statistic measures of a curve: alphas ``(n,)``, losses ``(n,)``."""


def _min_delta(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    top = int(np.argmax(losses - np.minimum.accumulate(losses)))
    low = float(np.min(losses[: top + 1]))
    level(axes, low, last=float(alphas[top]))
    height(axes, float(alphas[top]), low, float(losses[top]))


def _hump(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    before, after = np.minimum.accumulate(losses), np.minimum.accumulate(losses[::-1])[::-1]
    top = int(np.argmax(losses - np.maximum(before, after)))
    base = float(max(before[top], after[top]))
    level(axes, base)
    height(axes, float(alphas[top]), base, float(losses[top]))


def _tail_rise(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    low = int(np.argmin(losses))
    level(axes, float(losses[low]), float(alphas[low]))
    height(axes, 1.0, float(losses[low]), float(losses[-1]))


def _interior_peak(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    top = 1 + int(np.argmax(losses[1:-1]))
    level(axes, float(losses[0]))
    height(axes, float(alphas[top]), float(losses[0]), float(losses[top]))


def _above(base: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]) -> Mark:
    """A mark of the position at which the curve is highest above a straight line, and of how high that is."""

    def mark(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        line = base(alphas, losses)
        top = int(np.argmax(losses - line))
        axes.plot(alphas, line, color=BLUE, lw=1, ls="--", zorder=2)
        height(axes, float(alphas[top]), float(line[top]), float(losses[top]))

    return mark


def _area(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    axes.fill_between(alphas, 0, losses, color=BLUE, alpha=0.2, lw=0)
    axes.set_ylim(0, 1.06 * float(np.max(losses)))
    mean = float(np.sum((losses[1:] + losses[:-1]) / 2 * np.diff(alphas)))
    axes.plot([0, 1], [mean, mean], color=RED, lw=1.6, zorder=4)


def _points(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64], counted: NDArray[np.bool_]) -> None:
    """Points or steps that count are filled, others are rings; the two differ without colour too."""
    axes.plot(alphas[counted], losses[counted], "o", color=BLUE, ms=4.5, zorder=5, label="counts")
    axes.plot(alphas[~counted], losses[~counted], "o", mfc="none", mec=RED, ms=4.5, zorder=5, label="does not")
    axes.legend(frameon=False, fontsize=7.5, labelcolor=SOFT, handletextpad=0.1, loc="best")


def _steps(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    middles = (alphas[1:] + alphas[:-1]) / 2, (losses[1:] + losses[:-1]) / 2
    _points(axes, *middles, losses[1:] <= losses[:-1])


def _convexity(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    _points(axes, alphas[1:-1], losses[1:-1], losses[1:-1] <= (losses[2:] + losses[:-2]) / 2)


def _below_chord(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
    chord = (1 - alphas) * losses[0] + alphas * losses[-1]
    axes.plot(alphas, chord, color=BLUE, lw=1, ls="--", zorder=2)
    _points(axes, alphas[1:-1], losses[1:-1], (losses <= chord)[1:-1])


def _position(name: str) -> Mark:
    """A point on the curve at a position that linescape finds."""

    def mark(axes: Axes, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        alpha = float(getattr(ls.shape, name)(alphas, losses))
        loss = float(np.interp(alpha, alphas, losses))
        axes.plot([alpha, alpha], [axes.get_ylim()[0], loss], color=RED, lw=1, ls=":", zorder=2)
        dot(axes, alpha, loss)

    return mark


def _plateau(low: float, high: float) -> Mark:
    """The band of values that count as the chance level."""

    def mark(axes: Axes, *_: NDArray[np.float64]) -> None:
        axes.axhspan(low, min(high, 100.0), color=BLUE, alpha=0.25, lw=0, zorder=1)

    return mark


_CHANCE = float(np.log(10))
_MARKS: Mapping[str, Mark] = {
    "min_delta": _min_delta,
    "hump": _hump,
    "tail_rise": _tail_rise,
    "interior_peak": _interior_peak,
    "barrier_above_chord": _above(lambda a, losses: (1 - a) * losses[0] + a * losses[-1]),
    "barrier_above_mean": _above(lambda a, losses: np.full_like(a, (losses[0] + losses[-1]) / 2)),
    "barrier_above_max_end": _above(lambda a, losses: np.full_like(a, max(losses[0], losses[-1]))),
    "area": _area,
    "monotone_fraction": _steps,
    "convexity": _convexity,
    "fraction_below_chord": _below_chord,
    "position_of_max": _position("position_of_max"),
    "peak": _position("peak"),
    "plateau_loss": _plateau(_CHANCE - 0.1, _CHANCE + 0.1),
    "plateau_error": _plateau(85.5, 100.0),
}


_POSITIONS = ("position_of_max", "peak")
"""The statistics that are a place on the line, and no height or share."""


def _picture(name: str, curve: ls.Curve, ends: tuple[str, str], said: str, alt: str) -> Picture:
    """One curve with what a statistic measures of it, and the value.

    Args:
        name: of the statistic.
        curve: the line.
        ends: what its two networks are.
        said: what the value tells, in the title after it.
        alt: what the marks are, in words.
    """
    definition = ls.shape.definitions.DEFINITIONS[name]
    value = runs.statistic(name, curve)
    unit = " nats" if definition.unit == "nats" else ""
    shown = f"α = {value:.3g}" if name in _POSITIONS else f"{value:.2f}".replace("-", "−") + unit
    title = f"{shown} {said}" if said.startswith("of ") else f"{shown}: {said}"
    measure = "error" if name == "plateau_error" else "cross_entropy"
    figure, axes = line_panel(title, curve, ends, measure)
    series = curve["test", measure]
    _MARKS[name](axes, series.alphas, series.mean)
    line = f"Test {'error' if measure == 'error' else 'loss'} along a line from {ends[0]} to {ends[1]}. {alt}"
    return Picture(figure, f"{line} {definition.label[0].upper()}{definition.label[1:]}: {title}.".replace("  ", " "))


def pictures() -> dict[str, Picture]:
    """Every picture by the name of its file: a statistic, or a statistic and ``-misleads``."""
    apart, deep, overfitted, unequal = runs.apart(), runs.deep(), runs.overfitted(), runs.unequal()
    rescaled = ("weights × 100", "as trained")
    coarse, fine = (runs.measured(runs.rescaled_ends(), positions) for positions in (6, 201))
    missed = f"with 6 positions; with 201, {runs.statistic('hump', fine):.2f}"
    falls, guess = "The loss falls, then rises again.", "dashed is the best constant guess"
    highest = "An arrow marks the height"
    rows: tuple[tuple[str, ls.Curve, tuple[str, str], str, str], ...] = (
        ("min_delta", apart, APART, "the rise to the top", f"{highest} of the top above the lowest point before it."),
        ("min_delta-misleads", overfitted, OVERFITTED, "a rise without a hump", f"{highest} of the end."),
        ("hump", apart, APART, "up, and down again", f"{highest} of the top above the higher of the lows beside it."),
        ("hump-misleads", coarse, rescaled, missed, "Five straight pieces; the last falls steeply."),
        ("tail_rise", overfitted, OVERFITTED, "the end above the lowest", f"{highest} of the end."),
        ("tail_rise-misleads", apart, APART, "the ends differ", f"{highest} of the end above the start, the lowest."),
        ("interior_peak", apart, APART, "above the start", f"{highest} of the top above the start."),
        ("interior_peak-misleads", overfitted, OVERFITTED, "yet the end rises", falls),
        ("barrier_above_chord", apart, APART, "above the chord", f"{highest} above the dashed line of both ends."),
        ("barrier_above_chord-misleads", deep, RANDOM, "but only a plateau", f"{highest} of a plateau."),
        ("barrier_above_mean", apart, APART, "above the mean of the ends", f"{highest} above the mean of both ends."),
        ("barrier_above_mean-misleads", deep, RANDOM, "where nearly nothing rises", f"{highest} of the start."),
        ("barrier_above_max_end", apart, APART, "above the worse end", f"{highest} above the worse end."),
        ("barrier_above_max_end-misleads", overfitted, OVERFITTED, "yet the end rises", falls),
        ("area", deep, RANDOM, "the mean height", "The area below the curve is shaded; a line marks its mean height."),
        ("area-misleads", runs.large_start(), ("weights × 4", "trained"), "from a worse start", "It starts high."),
        ("monotone_fraction", apart, APART, "of the steps do not rise", "Steps that rise are rings, others dots."),
        ("monotone_fraction-misleads", overfitted, OVERFITTED, "yet it falls farther than it rises", falls),
        ("convexity", deep, RANDOM, "of the points", "Points on or below the line of their neighbours are dots."),
        ("fraction_below_chord", apart, APART, "of the points", "Points below the dashed chord are dots."),
        ("fraction_below_chord-misleads", deep, RANDOM, "a plateau, no rise", "Points of the plateau are rings."),
        ("position_of_max", apart, APART, "the highest point", "A dot marks it."),
        ("position_of_max-misleads", deep, RANDOM, "the start is the highest", "A dot marks the start."),
        ("peak", apart, APART, "the top of the hump", "A dot marks it."),
        ("peak-misleads", deep, RANDOM, "there is no hump", "A dot marks the first point after the start."),
        ("plateau_loss", deep, RANDOM, "of the line is in the band", "A band around ln 10 is shaded."),
        (
            "plateau_loss-misleads",
            unequal,
            RANDOM,
            guess,
            "The best constant guess, dashed, is below the band.",
        ),
        ("plateau_error", deep, RANDOM, "of the line is in the band", "The band from 85.5 % upwards is shaded."),
        ("plateau_error-misleads", unequal, RANDOM, guess, "The best constant guess, dashed, is below the band."),
    )
    made = {row[0]: _picture(row[0].removesuffix("-misleads"), *row[1:]) for row in rows}
    for name, chance in zip(("plateau_loss", "plateau_error"), runs.unequal_chance(), strict=True):
        level(made[f"{name}-misleads"].figure.axes[0], chance)
    return made
