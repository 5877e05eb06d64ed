from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linescape.analysis import answers, tables
from linescape.errors import StoreError
from linescape.interpolation.curve import Curve
from linescape.report import figures
from linescape.report.figures import panel
from linescape.shape.definitions import DEFINITIONS
from tests.support.fake_study import FakeStore, results, study


def shown(kind: tuple[str, ...] = ("whole",)) -> pl.DataFrame:
    return results().lines.filter((pl.col("data") == "test") & pl.col("kind").is_in(kind))


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text())


def curves() -> dict[str, Curve]:
    made = study(1, 21)
    run = next(arm for arm in made.arms if arm.name == "adversarial").runs[0]
    return {label: FakeStore(made, examples=50).curve(scan) for label, scan in run.lines.items()}


def sound() -> pl.DataFrame:
    return tables.comparable(results().runs).filter(pl.col("status") != "diverged")


@cache
def found() -> answers.Answer:
    return answers.shape_and_accuracy(results().runs)


def by_group() -> pl.DataFrame:
    groups = found().groups
    assert groups is not None
    return groups


FIGURES: dict[str, Callable[[], Figure]] = {
    "group": lambda: figures.group(shown(), tables.means(shown()), results().runs, ["lr-1", "depth-20"], ["base"]),
    "overview": lambda: figures.overview(shown(), tables.means(shown()), results().runs),
    "parts": lambda: figures.parts(
        shown(("whole", "block")).filter(pl.col("arm").is_in(["base", "depth-20", "lr-1"])),
        tables.means(shown(("whole", "block"))),
        results().runs,
    ),
    "other": lambda: figures.parts(
        shown(("whole", "other")).filter(pl.col("group") == "warm-up"),
        tables.means(shown(("whole", "other"))),
        results().runs,
        measure="error",
    ),
    "accuracy": lambda: figures.accuracy(tables.accuracy(results().runs), results().runs, "base"),
    "partial": lambda: figures.accuracy(tables.partial(results()), results().runs),
    "shape": lambda: figures.shape_against_accuracy(results().runs, list(DEFINITIONS)[:4], {"hump": "ρ = 0"}),
    "distance": lambda: figures.distance_against_rise(sound(), 0.05),
    "distances": lambda: figures.distances(results().distances),
    "correlations": lambda: figures.correlations(
        found().numbers, by_group(), ["min_delta", "hump", "area", "convexity"]
    ),
    "rises": lambda: figures.rises(tables.rising(sound()), results().statistics, 0.05),
    "choices": lambda: figures.choices(
        answers.barrier_and_batchnorm(results(), {"adversarial": "pre-trained"}).numbers
    ),
    "probe": lambda: figures.probe(curves()["whole"], 10),
    "blocks": lambda: figures.blocks(curves(), "test", "interpolate"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_and_changes_nothing_outside(name: str, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    path = figures.save(FIGURES[name](), tmp_path / "new" / f"{name}.svg")
    assert dict(matplotlib.rcParams) == before
    text = path.read_text(encoding="utf-8")
    assert "<text" in text, "letters are letters, so that the page's font and a search find them"
    assert "nan" not in re.sub(r"<text.*?</text>", "", text).lower()


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_figure_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    first = figures.save(FIGURES["distances"](), tmp_path / f"a{suffix}")
    second = figures.save(FIGURES["distances"](), tmp_path / f"b{suffix}")
    assert first.read_bytes() == second.read_bytes()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"\.png, \.pdf or \.svg"):
        figures.save(Figure(), tmp_path / "a.bmp")


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        figures.save(Figure(), tmp_path / "file" / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_figure_that_fails_leaves_the_earlier_one(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    figures.save(Figure(), path)
    before, write = path.read_bytes(), Path.write_bytes

    def full(target: Path, content: bytes) -> int:
        write(target, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="the disk is full"):
        figures.save(Figure((1, 2)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_pyplot_is_never_loaded() -> None:
    code = "import sys, linescape.report.figures, linescape.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def test_huge_losses_are_cut_marked_and_said() -> None:
    axes = panels(FIGURES["group"]())[0]
    assert axes.get_ylim()[1] == pytest.approx(panel.CEILING * np.log(10))
    assert any(line.get_marker() == "^" for line in axes.lines)
    one = shown().filter((pl.col("arm") == "depth-20") & (pl.col("measure") == "cross_entropy"))
    assert f"▲ up to {one['mean'].to_numpy().max():.3g}" in words(FIGURES["group"]())


def test_nan_and_infinity_are_gaps_marked_and_said() -> None:
    figure = FIGURES["parts"]()
    base, lr, depth = panels(figure)
    assert "▲ up to ∞" in [text.get_text() for text in depth.texts]
    assert "× NaN (6 lines)" in [text.get_text() for text in lr.texts]
    assert any(line.get_marker() == "x" for line in lr.lines)
    drawn = [np.asarray(line.get_ydata(), float) for line in (*lr.lines, *depth.lines) if len(line.get_xdata()) == 50]  # type: ignore[arg-type]
    assert any(np.isnan(values).any() for values in drawn)
    assert not any(np.isinf(values).any() for values in drawn)
    assert not [text for text in base.texts if "NaN" in text.get_text()]


def test_every_arm_has_a_panel_also_one_without_results() -> None:
    figure = figures.overview(
        shown().filter(pl.col("arm") != "data-50"), tables.means(shown()), results().runs.filter(pl.col("seed") == 0)
    )
    assert len(panels(figure)) == 16
    assert words(figure).count("not measured") == 1
    assert panel.ALPHA in words(figure)
    assert "test loss (cross entropy), nats" in words(figure)


def test_guessing_is_drawn_at_ln_of_the_classes() -> None:
    levels = {
        round(float(np.asarray(line.get_ydata())[0]), 4)
        for axes in panels(FIGURES["overview"]())
        for line in axes.lines
        if str(line.get_linestyle()) == "--" and len(line.get_xdata()) == 2  # type: ignore[arg-type]
    }
    assert levels == {2.3026, 0.6931}


def test_figures_of_nothing_are_empty_not_errors() -> None:
    nothing = shown().clear()
    runs = results().runs.clear()
    assert figures.overview(nothing, tables.means(nothing), results().runs)
    assert figures.parts(nothing, tables.means(nothing), runs)
    assert figures.accuracy(tables.accuracy(runs), runs)
    assert figures.distances(results().distances.clear())
    assert figures.rises(tables.rising(runs), results().statistics.clear(), 0.05)


def test_a_number_that_is_not_finite_is_counted_beside_its_panel() -> None:
    assert "(1 not finite, not drawn)" in words(FIGURES["shape"]())


@pytest.mark.parametrize("arms", [["base"], ["base", "depth-20", "lr-1"]])
def test_no_name_in_a_key_is_cut_off(arms: list[str], tmp_path: Path) -> None:
    lines = shown(("whole", "block")).filter(pl.col("arm").is_in(arms))
    figure = figures.parts(lines, tables.means(lines), results().runs)
    figures.save(figure, tmp_path / "a.png")
    key = figure.legends[0].get_window_extent()
    assert key.x1 <= figure.bbox.x1
    assert key.y0 >= max(axes.title.get_window_extent().y0 for axes in panels(figure)), "it hides no title"


def test_a_long_key_leaves_room_for_the_panels() -> None:
    """Thirteen names that do not fit beside each other, above one small panel."""
    figure, (axes, *_) = panel.grid(1, 1, height=2.4)
    panel.around(figure, "cross_entropy", pl.DataFrame({"data": ["test"]}))
    handles = [axes.plot([0, 1], [number, 0])[0] for number in range(13)]
    panel.key(figure, handles, [f"from the end of training {number}" for number in range(13)])
    figure.draw_without_rendering()
    box = axes.get_position()
    assert box.height * figure.get_figheight() > 1.0, "inches"
    beside = figure._supylabel.get_position()[1]  # type: ignore[attr-defined]
    assert box.y0 < beside < box.y1


def test_a_probe_shows_the_band_of_mean_and_error() -> None:
    axes = panels(FIGURES["probe"]())[0]
    band = axes.collections[0].get_paths()[0].vertices
    test = curves()["whole"].frame().filter((pl.col("data") == "train") & (pl.col("measure") == "cross_entropy"))
    at_start = np.asarray(band)[np.isclose(np.asarray(band)[:, 0], 0.0), 1]
    mean, error = test["mean"][0], test["standard_error"][0]
    assert at_start.min() == pytest.approx(mean - 1.96 * error)
    assert at_start.max() == pytest.approx(mean + 1.96 * error)


def test_a_rise_is_drawn_with_its_interval_and_filled_if_it_is_told_from_noise() -> None:
    runs = tables.rising(sound())
    axes = panels(FIGURES["rises"]())[0]
    dots = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]  # type: ignore[arg-type]
    filled = [dot for dot in dots if dot.get_markerfacecolor() != "white"]
    assert len(dots) == runs["test_min_delta"].is_finite().sum()
    assert len(filled) == runs["rises"].sum() > 0
    bars = [np.asarray(line.get_xdata(), float) for line in axes.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    highs = results().statistics.filter(pl.col("number") == "min_delta")["high"]
    assert max(bar[1] for bar in bars) in highs.to_list()


def test_a_choice_without_an_interval_has_no_colour() -> None:
    table = answers.barrier_and_batchnorm(results(), {}).numbers
    cells = [patch for axes in panels(FIGURES["choices"]())[:2] for patch in axes.patches if patch.get_fill()]
    assert len(cells) == (table["sign"] != "undefined").sum()
