"""Figures that results draw of themselves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import linescape as ls
from linescape.analysis import tables
from linescape.analysis.tables import Results
from linescape.errors import RecipeError
from linescape.interpolation.curve import Curve
from tests.report.conftest import small
from tests.support.fake_study import FakeStore
from tests.support.probes import sample_lines, sample_probe


@pytest.fixture(autouse=True)
def pyplot_is_left_alone() -> Iterator[None]:
    """Nothing that a test draws changes matplotlib's settings or is known to pyplot."""
    with matplotlib.rc_context({"backend": "agg"}):
        before = dict(matplotlib.rcParams)
        yield
        assert dict(matplotlib.rcParams) == before
        plt.close("all")


def curve() -> Curve:
    return sample_probe().curves["whole"]


def heights(axes: Axes) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(line.get_ydata()) for line in axes.lines if len(np.asarray(line.get_ydata())) > 2]


def test_a_curve_draws_each_measure_with_its_means() -> None:
    figure, axes = curve().plot()
    assert isinstance(figure, Figure)
    assert not plt.get_fignums()
    assert not isinstance(axes, Axes)
    assert [panel.get_title(loc="left").split(" ")[-2] for panel in axes] == ["entropy),", "error,"]
    for panel, measure in zip(axes, ("cross_entropy", "error"), strict=True):
        means = [series.mean for series in curve() if series.measure == measure]
        for drawn, mean in zip(heights(panel), means, strict=True):
            np.testing.assert_array_equal(drawn, mean)


def test_a_series_draws_into_axes_and_beside_what_is_there() -> None:
    figure, axes = plt.subplots(2)
    axes[0].plot([0, 0.5, 1.5], [3.0, 9.0, 3.0])
    series = curve()["test", "cross_entropy", "interpolate"]
    assert series.plot(axes[0]) == (figure, axes[0])
    series.plot(axes[0], label="another")
    assert len(heights(axes[0])) == 3
    np.testing.assert_array_equal(heights(axes[0])[1], series.mean)
    assert axes[0].get_ylim()[1] >= 9.0  # what was there is still to be seen
    assert axes[0].get_xlim()[1] >= 1.5
    legend = axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["test", "another"]
    assert len({str(line.get_color()) for line in axes[0].lines}) == 3


def test_a_curve_draws_into_one_axes_for_each_measure() -> None:
    figure, axes = plt.subplots(1, 2)
    assert curve().plot(axes)[0] is figure
    assert [len(heights(panel)) > 0 for panel in axes] == [True, True]
    with pytest.raises(RecipeError, match=r"2 measures \(cross_entropy, error\), and 1 axes"):
        curve().plot(axes[0])
    for wrong in (3, [], ["x", "y"]):
        with pytest.raises(RecipeError, match="Give axes of matplotlib"):
            curve().plot(wrong)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="`style` is of a new figure"):
        curve().plot(axes, style={"font.size": 5})


def test_a_probe_draws_blocks_or_a_fan() -> None:
    figure, _ = sample_probe().plot()
    words = {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    assert {"whole network", *list(sample_probe().curves)[1:]} <= words
    figure, _ = sample_lines().plot()
    words = {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    assert {f"{name} to step-30000" for name in ("step-0", "step-100", "<b>step-2000</b>")} <= words


@pytest.mark.parametrize("draw", ["curve", "probe", "study"])
def test_size_and_font_are_those_that_are_asked_for(draw: str, results: Results) -> None:
    style = {"figure.figsize": (5, 2), "font.size": 17.0, "font.family": "serif", "axes.facecolor": "#abcdef"}
    plots = {
        "curve": lambda style: curve().plot(style=style),
        "probe": lambda style: sample_probe().plot(style=style),
        "study": lambda style: results.figure("overview", style=style),
    }
    plain, styled = plots[draw](None), plots[draw](style)
    assert tuple(styled[0].get_size_inches()) == (5, 2)
    assert styled[0].axes[0].get_facecolor() == matplotlib.colors.to_rgba("#abcdef")
    for figure in (plain[0], styled[0]):
        figure.set_layout_engine("none")
        with matplotlib.rc_context({"font.size": 40}):  # of whoever draws it, later
            figure.savefig(io.BytesIO(), format="png")
    sizes = [
        {float(text.get_fontsize()) for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()}
        for figure, _ in (plain, styled)
    ]
    assert sizes[1] == {2 * size for size in sizes[0]}
    families = {text.get_fontfamily()[0] for text in styled[0].findobj(Text) if isinstance(text, Text)}
    assert families == {"serif"}


@pytest.mark.parametrize(
    ("style", "said"),
    [
        ({"font.sise": 3}, "no setting 'font.sise'. Did you mean 'font.size'"),
        ({"font.size": "large-ish"}, "refuses a setting"),
        ({"figure.figsize": 3}, "refuses a setting"),
        ("dark", "The style is a str"),
    ],
)
def test_settings_that_matplotlib_does_not_have(style: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        curve().plot(style=style)


def test_a_plot_is_a_picture_in_a_notebook() -> None:
    plot: Any = curve().plot()
    assert plot._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def results() -> Results:
    made = small()
    return tables.read(made, FakeStore.with_trouble(made))


def test_figures_of_a_study_by_the_names_of_their_files(results: Results, written: Any) -> None:
    names = {path.stem for path in (written.parent / "figures").glob("*.png")}
    assert {"overview", "accuracy", "distances"} <= names
    for name in ("overview", "distances"):
        figure, axes = results.figure(name)
        assert isinstance(figure, Figure)
        assert isinstance(axes, Axes) or len(axes) > 1
    with pytest.raises(RecipeError, match="^These results have no figure 'overveiw'. Did you mean 'overview'"):
        results.figure("overveiw")


def test_a_surface_and_paths_beside_the_line_are_drawn_too() -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)) for _ in range(3)]
    evaluator = ls.Evaluator(nets[0], {"test": (torch.randn(20, 4), torch.arange(20) % 2)})
    surface = ls.scan_plane(ls.Plane(*nets), evaluator, ls.ScanOptions(alphas=3))
    _, axes = surface.plot(style={"font.size": 6})
    assert len(axes) >= 2
    probe = ls.probe(nets[0], nets[1], evaluator, options=ls.ScanOptions(alphas=3), beside={"arc": ls.Slerp(*nets[:2])})
    assert "arc" in {text.get_text() for text in probe.plot()[0].findobj(Text)}
