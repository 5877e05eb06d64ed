"""Pictures of layer-wise lines, of distances, and of the treatments of BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes

from linescape.evaluation.batchnorm import TREATMENTS
from linescape.geometry.state import Distance, State, distances, norm
from linescape.report.figures.panel import BLUE, INK, RED, SOFT, look
from scripts.method_pictures import runs
from scripts.method_pictures.panels import Picture, height, level, line_panel, panel, plain_powers


def _start_above_end() -> Picture:
    """One block set back: the loss at the start of its line above the end."""
    curves = runs.by_layer()
    losses = curves["1"]["test", "cross_entropy"].mean
    value = float(losses[0] - losses[-1])
    ends = ("first layer set back", "trained network")
    figure, axes = line_panel(f"{value:.2f} nats: the first layer alone is set back", curves["1"], ends)
    level(axes, float(losses[-1]))
    height(axes, 0.0, float(losses[-1]), float(losses[0]))
    return Picture(
        figure,
        f"Test loss along the line on which only the first layer moves, from its start to the trained network. An "
        f"arrow marks the height of the start above the end: {value:.2f} nats.",
    )


def _start_above_end_misleads() -> Picture:
    """The increases of all layers beside that of the network."""
    losses = {name: curve["test", "cross_entropy"].mean for name, curve in runs.by_layer().items()}
    values = {name: float(each[0] - each[-1]) for name, each in losses.items()}
    whole = values.pop("whole")
    total = sum(values.values())
    figure, axes = panel(
        f"Layers: {total:.2f} nats in all; the whole network: {whole:.2f}", "layer", "loss increase, nats"
    )
    _bars(axes, [*values, "whole"], [*values.values(), whole])
    return Picture(
        figure,
        f"Bars: the loss increase when each of the seven layers alone is set back, {total:.2f} nats in all, beside "
        f"that of the whole network, {whole:.2f} nats.",
    )


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float]) -> None:
    """A bar for each name; the last in another colour."""
    axes.bar(range(len(names)), values, width=0.6, color=[BLUE] * (len(names) - 1) + [RED], zorder=2)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1.15 * max(values))


def _moved(ends: runs.Ends) -> tuple[State, State, Distance]:
    start, end = (State.from_module(module) for module in ends)
    return start, end, distances(start, end)["all"]


def _triangle(title: str, ends: runs.Ends, names: tuple[str, str], marked: str) -> Picture:
    """The plane through the origin, the start and the end: each side of the triangle has its true length."""
    start, end, moved = _moved(ends)
    first, last = (norm(_parameters(state)) for state in (start, end))
    x = (first**2 + last**2 - moved.total**2) / (2 * first)
    y = math.sqrt(max(0.0, last**2 - x**2))
    title = title.format(moved)
    figure, axes = panel(title)
    axes.plot([0, first], [0, 0], color=INK, lw=1.2)
    axes.plot([first, x], [0, y], color=RED, lw=2)
    axes.plot([0, x], [0, y], color=SOFT, lw=1, ls=":")
    for words, place, side in (("0", (0, 0), "right"), (names[0], (first, 0), "left"), (names[1], (x, y), "left")):
        axes.plot(*[[each] for each in place], "o", color=INK, ms=5)
        _write(axes, words, place, (-7 if side == "right" else 7, 0), side, INK)
    _write(axes, f"norm {first:.3g}", (first / 2, 0), (0, -14), "center", SOFT)
    _write(axes, f"distance {moved.total:.3g}", ((first + x) / 2, y / 2), (8, 0), "left", RED)
    reach = max(first, x)
    axes.set(aspect="equal", xlim=(-0.1 * reach, 1.4 * reach), ylim=(-0.22 * reach, max(1.1 * y, 0.5 * reach)))
    axes.axis("off")
    words = f"A triangle of true lengths: origin, {names[0]} and {names[1]}. From origin to {names[0]} {first:.3g}, "
    return Picture(figure, f"{words}from {names[0]} to {names[1]} {moved.total:.3g}. {marked}: {title}.")


def _write(
    axes: Axes, words: str, place: tuple[float, float], offset: tuple[float, float], side: str, colour: str
) -> None:
    """Words beside a place, `offset` points away."""
    axes.annotate(words, place, offset, textcoords="offset points", ha=side, va="center", fontsize=8.5, color=colour)


def _parameters(state: State) -> State:
    """A state whose buffers are zero, so that its norm is that of the parameters."""
    return state.replace({name: torch.zeros_like(state[name]) for name in state if name not in state.parameters})


def _widths() -> Picture:
    moved = {width: _moved(ends)[2] for width, ends in runs.widths().items()}
    figure, axes = panel("The same training, in wider networks", "units of the hidden layer", "distance")
    axes.bar(range(len(moved)), [each.total for each in moved.values()], width=0.6, color=BLUE, zorder=2)
    axes.set_xticks(range(len(moved)), [str(width) for width in moved])
    axes.set_ylim(0, 1.15 * max(each.total for each in moved.values()))
    for place, each in enumerate(moved.values()):
        _write(axes, f"{each.total:.1f}", (place, each.total), (0, 6), "center", SOFT)
    listed = ", ".join(f"{each.total:.1f} with {width} units" for width, each in moved.items())
    return Picture(figure, f"Bars: the distance after the same training by the width of the hidden layer: {listed}.")


def _changes() -> Picture:
    """How far single parameters moved, and their root mean square."""
    start, end, moved = _moved(runs.deep_ends())
    changes = torch.cat([(end[name] - start[name]).flatten() for name in start.parameters]).abs()
    value, highest = moved.per_parameter, float(changes.max())
    figure, axes = panel(
        f"{value:.3f}: the root mean square", "change of a parameter, absolute", "number of parameters"
    )
    axes.hist(changes.numpy(), bins=np.linspace(0, highest, 41).tolist(), color=BLUE, zorder=2)
    plain_powers(axes)
    axes.axvline(value, color=RED, lw=1.6, zorder=3)
    axes.annotate(f"largest: {highest:.2f}", (0.98, 0.6), xycoords="axes fraction", ha="right", color=SOFT)
    return Picture(
        figure,
        f"Histogram of how far single parameters of a network moved in training. Most moved little, and few far, up to "
        f"{highest:.2f}; a line marks the root mean square, {value:.3f}.",
    )


def _batchnorm() -> Picture:
    """The same line with each treatment."""
    curve = runs.normed_apart(TREATMENTS)
    figure, axes = panel(
        "One line between two networks, five treatments", "α   (0: one seed, 1: another)", "test loss, nats", (5.4, 3.0)
    )
    tops = []
    for index, treatment in enumerate(TREATMENTS):
        series = curve["test", "cross_entropy", treatment]
        colour, _ = look(index)
        style, mark = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))[index], "osD^v"[index]
        axes.plot(
            series.alphas, series.mean, color=colour, ls=style, marker=mark, markevery=(index, 5), ms=4, label=treatment
        )
        tops.append(f"{treatment} {float(series.mean.max()):.2f}")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    words = "Test loss along one line between two networks with BatchNorm, with each treatment. Highest loss, in nats: "
    return Picture(figure, f"{words}{', '.join(tops)}.")


def pictures() -> dict[str, Picture]:
    """Every picture by the name of its file."""
    deep, rescaled = runs.deep_ends(), runs.rescaled_ends()
    random, same = ("start", "end"), ("trained", "weights × 100")
    return {
        "start_above_end": _start_above_end(),
        "start_above_end-misleads": _start_above_end_misleads(),
        "relative_distance": _triangle("{0.relative:.2f}: distance / norm of the start", deep, random, "The ratio"),
        "relative_distance-misleads": _triangle(
            "{0.relative:.0f}: both compute the same function", rescaled[::-1], same, "The ratio"
        ),
        "distance": _triangle("{0.total:.2f}: from start to end", deep, random, "The distance"),
        "distance-misleads": _widths(),
        "distance_per_parameter": _changes(),
        "batchnorm": _batchnorm(),
    }
