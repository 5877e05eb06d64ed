"""Figures of results by themselves, as `Curve.plot` and others return them: for a notebook, a paper, one's own axes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from linescape.errors import LinescapeError, RecipeError, check_type, suggest
from linescape.interpolation.curve import Curve
from linescape.interpolation.probing import WHOLE, Probe
from linescape.interpolation.surface import Surface
from linescape.report import figures
from linescape.report.figures.panel import STYLE
from linescape.report.probe import printable_probe
from linescape.report.probe_tables import ProbeTables
from linescape.report.text import plain

Style = Mapping[str, Any] | None


class Plot(NamedTuple):
    """A figure and its axes, of several panels a list of them; a notebook shows it as the picture."""

    figure: Figure
    axes: Axes | Sequence[Axes]

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            self.figure.savefig(content, format="png", dpi=110)
        return content.getvalue()


def of_curve(curve: Curve, style: Style = None) -> Plot:
    """The figure of `Curve.plot`."""
    curve = _printable(curve)
    return styled(style, lambda: figures.probe(curve))


def into(ax: Axes | Sequence[Axes], curve: Curve, style: Style = None) -> tuple[Any, Axes | Sequence[Axes]]:
    """Draw a curve into axes, one for each measure; returns their figure, and them.

    Raises:
        RecipeError: as `Curve.plot`.
    """
    curve = _printable(curve)
    axes: Sequence[Axes] = [ax] if isinstance(ax, Axes) else list(ax) if isinstance(ax, Iterable) else []
    if not axes or not all(isinstance(each, Axes) for each in axes):
        raise RecipeError(f"`ax` is a {type(ax).__name__}. Give axes of matplotlib, as of plt.subplots().")
    measures = list(dict.fromkeys(measure for _, measure, _ in curve.values))
    if len(axes) != len(measures):
        raise RecipeError(
            f"The curve has {len(measures)} measures ({', '.join(measures)}), and {len(axes)} axes are given. Give one "
            f"for each, or draw one series: curve[..., {measures[0]!r}].plot(ax)."
        )
    if style:
        raise RecipeError(
            "`style` is of a new figure, and axes have that of their own. Leave it out, or use matplotlib.rc_context."
        )
    figures.probe(curve, axes=axes)
    return axes[0].figure, ax


def _printable(curve: Curve) -> Curve:
    return Curve(curve.alphas, {plain(key): values for key, values in curve.values.items()}, curve.provenance)


def of_probe(probe: Probe, style: Style = None) -> Plot:
    """The figure of `Probe.plot`."""
    probe = printable_probe(probe)
    shown = ProbeTables.of(probe).shown
    if probe.pairs:
        last = list(probe.pairs.values())[-1][1]
        lines = {label: probe.curves[label] for label, (_, end) in probe.pairs.items() if end == last}
        return styled(style, lambda: figures.fan(lines, *shown))
    if probe.beside and len(probe.curves) == 1:
        ways = {"straight line": probe.curves[WHOLE], **probe.beside}
        return styled(style, lambda: figures.blocks(ways, *shown))
    if len(probe.curves) > 1:
        return styled(style, lambda: figures.blocks(probe.curves, *shown))
    return styled(style, lambda: figures.probe(probe.curves[WHOLE]))


def of_surface(surface: Surface, data: str | None, batchnorm: str | None, style: Style = None) -> Plot:
    """The figure of `Surface.plot`.

    Args:
        surface: the surface.
        data: the data set to show, as for `Surface.plot`.
        batchnorm: the treatment to show.
        style: as for `Curve.plot`.
    """
    return styled(style, lambda: figures.contours(surface, data, batchnorm))


def styled(style: Style, draw: Any) -> Plot:
    """What `draw` draws, in another size, font or style, without a change of matplotlib's settings.

    Raises:
        RecipeError: a setting is none of matplotlib's, or has an impossible value.
    """
    check_type(style or {}, Mapping, "The style", 'Give settings of matplotlib: {"font.size": 10}.')
    settings: dict[Any, Any] = dict(style or {})  # any, as matplotlib's own type of a setting is one of its names
    for name in settings:
        if name not in matplotlib.rcParams:
            raise RecipeError(f"matplotlib has no setting {name!r}. {suggest(name, matplotlib.rcParams)}")
    try:
        with matplotlib.rc_context(settings):
            given = {name: matplotlib.rcParams[name] for name in settings}  # checked, and in one form
            figure: Figure = draw()
    except LinescapeError:  # of what is drawn
        raise
    except ValueError as error:
        raise RecipeError(f"matplotlib refuses a setting of `style`: {error}.") from error
    if "figure.figsize" in given:
        figure.set_size_inches(given["figure.figsize"])
    _set_fonts(figure, given.get("font.size", STYLE["font.size"]), given.get("font.family", STYLE["font.family"]))
    axes = [panel for panel in figure.axes if panel.get_visible()]
    return Plot(figure, axes[0] if len(axes) == 1 else axes)


def _set_fonts(figure: Figure, size: float, family: Any) -> None:
    """Scale all text and set its font; ticks too, which matplotlib makes when it draws, outside of our settings."""
    for text in figure.findobj(Text):
        text.set(fontsize=float(text.get_fontsize()) * size / STYLE["font.size"], fontfamily=family)
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            label = next(iter(axis.get_ticklabels()), None)
            if label is not None:
                font = family if isinstance(family, str) else family[0]
                axis.set_tick_params(labelsize=label.get_fontsize(), labelfontfamily=font)
