"""Published results: which are shown for which study, and that the comparison with measured ones is right."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis import tables
from linescape.report import figures
from linescape.report.page import Folder
from linescape.report.published import published_section
from linescape.shape import STATISTICS, plateau_loss
from linescape.studies.study import Study
from linescape.studies.vlaar2022 import published
from linescape.studies.vlaar2022.published import ACCURACIES, LINES, RANGES
from tests.support.fake_study import FakeStore
from tests.support.fake_study import study as fake


@cache
def scale(name: str) -> Study:
    return studies.find("vlaar2022", name)


def small() -> Study:
    return scale("cifar10-small").only("base", runs=2)


@cache
def results() -> tables.Results:
    return tables.read(small(), FakeStore(small(), examples=50))


def differs() -> str:
    return f"width 8 instead of 64, epochs {small().arms[0].runs[0].recipe.schedule.epochs} instead of 100"


def test_published_lines_are_lines() -> None:
    for line in LINES:
        assert len(line.alphas) == len(line.losses)
        assert list(line.alphas) == sorted(set(line.alphas))
        assert 0 <= line.alphas[0] < line.alphas[-1] <= 1
    base = [line for line in LINES if line.arm == "base"]
    assert [line.label for line in base] == ["whole", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert {line.losses[-1] for line in base} == {0.338}, "all lines of a network meet at its end"
    assert {entry.quantity for entry in RANGES} - set(STATISTICS) == {"start", "loss", "highest", "end"}


@pytest.mark.parametrize("name", ["cifar10-small", "cifar10"])
def test_arms_and_labels_are_those_of_the_study(name: str) -> None:
    made = scale(name)
    lines = {arm.name: arm.runs[0].lines for arm in made.arms}
    for line in published.of(made, LINES):
        assert line.label in lines[line.arm]
    if name == "cifar10":  # the published setting: all of it has its arm
        assert published.of(made, ACCURACIES) == list(ACCURACIES)
        assert published.of(made, LINES) == list(LINES)
        assert published.of(made, RANGES) == list(RANGES)
        base = next(arm for arm in made.arms if arm.name == "base").runs[0].recipe
        assert ACCURACIES[0].setting.differs(base) == ""


def test_pretraining_shows_above_the_chord_and_on_the_plateau_of_the_published_lines() -> None:
    """As far as 15 and 12 read positions show it; of the second start only the range, 2.53 to 2.86, is known."""
    lines = {line.arm: (line.alphas, line.losses) for line in LINES if line.label == "whole"}
    alphas, losses = lines["pretrained-imagenet"]
    scratch = lines["base"]
    chance = math.log(10)
    assert STATISTICS["barrier_above_chord"](*scratch) == pytest.approx(1.88, abs=0.005)
    assert plateau_loss(*scratch, chance) == pytest.approx(0.93, abs=0.005)
    assert STATISTICS["min_delta"](*scratch) == pytest.approx(0.02, abs=1e-9)
    for start, above in ((2.53, 0.50), (2.86, 0.36)):
        pretrained = ((0.0, *alphas), (start, *losses))
        assert STATISTICS["barrier_above_chord"](*pretrained) == pytest.approx(above, abs=0.005)
        assert plateau_loss(*pretrained, chance) == pytest.approx(0.19, abs=0.01)
        assert STATISTICS["min_delta"](*pretrained) == pytest.approx(0.02, abs=1e-9)


def test_another_data_set_or_work_has_no_published_results() -> None:
    mini = scale("mini")
    assert published.of(mini, ACCURACIES) == []
    assert published.of(mini, LINES) == []
    assert {entry.setting.data for entry in published.of(mini, RANGES)} == {"spiral"}
    assert published.of(replace(small(), name="another"), LINES) == []


def test_accuracies_are_compared_and_the_other_setting_is_said() -> None:
    (row,) = tables.published_accuracies(results()).to_dicts()
    mean = results().runs["test_accuracy"].mean()
    assert (row["arm"], row["n"], row["published"], row["spread"]) == ("base", 2, 92.2, 0.2)
    assert row["difference"] == pytest.approx(mean - 92.2)  # type: ignore[operator]
    assert row["setting"] == "ResNet-18, cifar10, width 64, 100 epochs"
    assert row["differs"] == differs()


def test_points_have_the_measured_mean_and_each_curve_its_errors() -> None:
    points = tables.published_points(results()).filter(pl.col("label") == "layer2")
    line = results().lines.filter(
        (pl.col("label") == "layer2") & (pl.col("data") == "test") & (pl.col("measure") == "cross_entropy")
    )
    mean = line.group_by("alpha").agg(pl.col("mean").mean()).sort("alpha")
    measured = np.interp(points["alpha"].to_numpy(), mean["alpha"].to_numpy(), mean["mean"].to_numpy())
    gaps = measured - points["loss"].to_numpy()
    assert points["n"].to_list() == [2] * len(gaps)
    assert points["measured"].to_list() == pytest.approx(measured.tolist())
    assert points["difference"].to_list() == pytest.approx(gaps.tolist())
    assert points["rmse"].to_list() == pytest.approx([math.sqrt((gaps**2).mean())] * len(gaps))
    assert points["largest_gap"].to_list() == pytest.approx([abs(gaps).max()] * len(gaps))


def test_ranges_of_a_part_of_a_line_and_of_another_line(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = ACCURACIES[0].setting
    entries = (
        published.Range("base", "loss", 2.29, 2.32, setting, between=(0.2, 0.9)),
        published.Range("base", "highest", 1.0, 2.0, setting, label="layer3"),
    )
    monkeypatch.setattr("linescape.analysis.tables.published.RANGES", entries)
    part, highest = tables.published_ranges(results()).to_dicts()
    lines = results().lines.filter((pl.col("data") == "test") & (pl.col("measure") == "cross_entropy"))
    whole = lines.filter(pl.col("label") == "whole")
    runs = [own.sort("alpha") for _, own in whole.group_by("seed")]
    fine = np.union1d(np.linspace(0.2, 0.9, 7), whole.filter(pl.col("alpha").is_between(0.2, 0.9))["alpha"])
    values = [np.interp(fine, own["alpha"], own["mean"]) for own in runs]
    assert part["label"] == "loss from α = 0.2 to 0.9, nats"
    assert (part["low"], part["high"]) == pytest.approx((np.min(values), np.max(values)))
    peaks = lines.filter(pl.col("label") == "layer3").group_by("seed").agg(pl.col("mean").max())["mean"]
    assert (highest["line"], highest["low"], highest["high"]) == ("layer3", peaks.min(), peaks.max())


def test_ranges_are_those_of_the_runs() -> None:
    found = {row["quantity"]: row for row in tables.published_ranges(results()).to_dicts()}
    whole = results().lines.filter(
        (pl.col("label") == "whole") & (pl.col("data") == "test") & (pl.col("measure") == "cross_entropy")
    )
    starts = whole.filter(pl.col("alpha") == 0)["mean"]
    assert (found["start"]["low"], found["start"]["high"]) == (starts.min(), starts.max())
    assert (found["start"]["published_low"], found["start"]["published_high"]) == (2.47, 3.17)
    assert found["min_delta"]["published_low"] is None
    assert found["min_delta"]["high"] == results().runs["test_min_delta"].max()


def test_what_is_not_measured_yet_stands_there_without_numbers() -> None:
    made = small()
    empty = tables.read(made, FakeStore(made, missing=set(made.tasks())))
    (row,) = tables.published_accuracies(empty).to_dicts()
    assert (row["n"], row["published"]) == (0, 92.2)
    assert math.isnan(row["difference"])
    assert tables.published_ranges(empty)["low"].null_count() == 3
    points = tables.published_points(empty)
    assert points["loss"].null_count() == 0
    assert points["rmse"].null_count() == points["measured"].null_count() == points.height


def test_published_points_are_drawn_over_each_line() -> None:
    read = results()
    lines = read.lines.filter((pl.col("data") == "test") & (pl.col("batchnorm") == "interpolate"))
    points = tables.published_points(read)
    figure = figures.published_lines(lines, tables.means(lines), read.runs, points)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 6
    for axes, line in zip(panels, LINES, strict=False):
        assert any(list(drawn.get_ydata()) == list(line.losses) for drawn in axes.lines), line.label  # type: ignore[arg-type]
    words = " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))
    assert f"published (other setting; here {differs()})" in words


def test_the_section_says_how_published_numbers_were_obtained(tmp_path: Path) -> None:
    read = results()
    lines = read.lines.filter((pl.col("data") == "test") & (pl.col("batchnorm") == "interpolate"))
    shown = published_section(read, lines, tables.means(lines), Folder(tmp_path))
    assert shown is not None
    assert "stated in the authors' slides or poster" in unescape(shown["accuracies"])
    assert "digitised from the authors' vector figures" in unescape(shown["ranges"])
    ((title, drawing),) = shown["drawings"]
    assert title == "from scratch"
    assert "ResNet-18, cifar10, width 64, 100 epochs, digitised from" in drawing.caption
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        "published-accuracies.csv",
        "published-points.csv",
        "published-ranges.csv",
    }


def test_a_study_without_published_numbers_has_no_such_section(tmp_path: Path) -> None:
    other = tables.read(fake(1, 5).only("base"), FakeStore(fake(1, 5).only("base"), examples=20))
    assert published_section(other, other.lines, tables.means(other.lines), Folder(tmp_path)) is None
