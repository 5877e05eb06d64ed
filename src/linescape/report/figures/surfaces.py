"""Surfaces: the loss on a plane through networks, as contours."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from linescape.interpolation.surface import Surface
from linescape.report.figures import panel
from linescape.report.figures.panel import RULE, SOFT, STYLE

_MARK, _HALO = "#111418", "#fefefe"
"""Ink of marks and its rim, the same on dark pages, as the bands beneath are."""

_LEVELS = 12
"""Bands of a panel's colours."""

_ABOVE = 2.0
"""How far the colours of a loss reach, as a multiple of what lies between the networks, above the lowest value: the rim
of a landscape is often a hundred times as high."""


@matplotlib.rc_context(STYLE)
def contours(
    surface: Surface, data: str | None = None, batchnorm: str | None = None, way: np.ndarray | None = None
) -> Figure:
    """A panel for each measure: bands of equal mean, the networks marked, both axes to one scale.

    Values above the highest band, and positions without one, are stated in the panel. Bands of a loss are narrower
    below than above: their limits rise as squares.

    Args:
        surface: from `scan_plane`.
        data: the data set to show; ``test`` by default, or else the first.
        batchnorm: the treatment of BatchNorm to show; by default the first.
        way: a curve that lies in the plane ``(positions, 2)``, drawn beside the straight line between its ends.
    """
    keys = list(surface.values)
    sets = [key[0] for key in keys]
    data = data or ("test" if "test" in sets else sets[0])
    batchnorm = batchnorm or keys[0][2]
    measures = list(dict.fromkeys(measure for _, measure, _ in keys))
    width, height = np.ptp(surface.xs), np.ptp(surface.ys)
    side = 4.4
    figure = Figure((side * len(measures), 1.2 + (side - 1.2) * min(1.6, height / width)), layout="constrained")
    panels: list[Axes] = list(np.atleast_1d(figure.subplots(1, len(measures))))
    for axes, measure in zip(panels, measures, strict=True):
        means = surface[data, measure, batchnorm]
        _panel(figure, axes, surface, means, _limits(surface, means, measure))
        panel.quantity(axes, measure)
        if way is not None:
            axes.plot(*way.T, color=_MARK, lw=1.4, zorder=3)
            axes.plot(*way[[0, -1]].T, "--", color=_MARK, lw=1.0, zorder=3)
        axes.set_title(f"{data} {axes.get_title(loc='left')}", loc="left", color=SOFT, fontsize=8.5, pad=8)
    return figure


def bezier(surface: Surface, positions: int = 101) -> np.ndarray:
    """The quadratic Bezier curve from the first of three networks to the second with the third as its bend
    ``(positions, 2)``, in the coordinates of their plane, which it lies in."""
    first, second, bend = (np.array(place) for place in surface.marks.values())
    t = np.linspace(0.0, 1.0, positions)[:, None]
    return np.asarray((1 - t) ** 2 * first + 2 * t * (1 - t) * bend + t**2 * second)


def _panel(figure: Figure, axes: Axes, surface: Surface, means: np.ndarray, limits: np.ndarray) -> None:
    drawn = np.where(np.isnan(means), np.nan, np.minimum(means, limits[-1]))
    finite = np.ma.masked_invalid(drawn)
    bands = axes.contourf(surface.xs, surface.ys, finite, levels=limits, cmap="viridis_r")
    axes.contour(surface.xs, surface.ys, finite, levels=limits[1:-1], colors=_HALO, linewidths=0.4, alpha=0.7)
    bar = figure.colorbar(bands, ax=axes, ticks=limits[:: max(1, len(limits) // 6)], format="%.3g", shrink=0.9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelcolor=SOFT)
    around = [withStroke(linewidth=2.5, foreground=_HALO)]
    for name, (x, y) in surface.marks.items():
        axes.plot([x], [y], "o", color=_MARK, ms=6, mec=_HALO, mew=1.2, clip_on=False, zorder=4)
        axes.annotate(
            name, (x, y), (6, 5), textcoords="offset points", color=_MARK, fontweight="bold", path_effects=around
        )
    axes.set_aspect("equal")
    axes.spines[:].set_color(RULE)
    axes.tick_params(length=0, labelcolor=SOFT, pad=4)
    unit = surface.provenance.get("unit", 1.0)
    random = len(surface.marks) == 1
    shares = surface.provenance.get("shares")
    words = ["first direction" if random else f"distance, in units of {unit:.3g}"]
    beside = "second direction" if random else ""
    if shares:
        words[0], beside = (
            f"{order} component, {share:.0%} of variance"
            for order, share in zip(("first", "second"), shares, strict=True)
        )
        xs, ys, _ = zip(*surface.provenance["states"].values(), strict=True)
        axes.plot(xs, ys, "-o", color=_MARK, lw=1, ms=2.5, path_effects=around, zorder=3)
        words.append("line: the states, projected; only the last lies in the plane")
    if (means > limits[-1]).any():
        highest = np.nanmax(means)
        words.append(f"darkest: {limits[-1]:.3g} to {'∞' if math.isinf(highest) else f'{highest:.3g}'}")
    if np.isnan(means).any():
        words.append("blank: no value")
    axes.set_xlabel("\n".join(words), color=SOFT)
    axes.set_ylabel(beside, color=SOFT)


def _limits(surface: Surface, means: np.ndarray, measure: str) -> np.ndarray:
    """The limits of the bands ``(_LEVELS + 1,)``, rising."""
    finite = means[np.isfinite(means)]
    if not finite.size:
        return np.linspace(0.0, 1.0, _LEVELS + 1)
    low, high = float(finite.min()), float(finite.max())
    steps = np.linspace(0.0, 1.0, _LEVELS + 1)
    if measure not in ("error", "binary_error"):
        if len(surface.marks) == 3 and math.isfinite(inside := _highest_between(surface, means)):
            high = min(high, low + _ABOVE * (inside - low))
        steps = steps**2
    return low + (high - low if high > low else max(abs(low), 1.0) * 1e-6) * steps


def _highest_between(surface: Surface, means: np.ndarray) -> float:
    """The highest finite mean inside the triangle of the networks, them included."""
    (ax, ay), (bx, by), (cx, cy) = surface.marks.values()
    x, y = np.meshgrid(surface.xs, surface.ys)
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    of_b = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
    of_c = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
    inside = (of_b >= 0) & (of_c >= 0) & (of_b + of_c <= 1) & np.isfinite(means)
    return float(means[inside].max(initial=-math.inf))
