"""A line with a NaN on it is no monotone one, and the page says so; only where there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis.answers import Answer, answers
from linescape.analysis.tables import Results, trajectory
from linescape.interpolation.turning import GaussLength
from linescape.report import sentences
from linescape.report.figures.grids import rises_by_setting
from linescape.studies.study import Turning
from linescape.studies.works import goodfellow2015, lucas2021
from tests.support.lines_of_studies import lines_of

SENTENCE = "The training loss is not a number (NaN) somewhere on"


def with_nan(name: str, *labels: str) -> Results:
    """Straight falls, with NaN in the middle of the lines with these labels of the first seed of each arm."""
    study = studies.find(name, "demo")
    first = {arm.name: arm.runs[0].seed for arm in study.arms}

    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        lost = label in labels and seed == first[arm]
        return np.where((at == 0.5) & lost, np.nan, np.maximum(0.3, 2 - 1.7 * at))

    made = lines_of(study, shape, [0.0, 0.5, 1.0, 1.5] if name == "goodfellow2015" else [0.0, 0.5, 1.0])
    ones = np.ones((2, 1))
    turned = GaussLength(np.array([0.0, 1.0]), ones, ones < 0, ones, ones[1:])
    followed = {
        (arm.name, run.seed, label): turned
        for arm in study.arms
        for run in arm.runs
        for label in run.measured.get(Turning, {})
    }
    return replace(made, measured={Turning: followed}, trajectories=pl.DataFrame(schema=trajectory.ROW))


def named(results: Results) -> dict[str, Answer]:
    return {answer.name: answer for answer in answers(results)}


@pytest.mark.parametrize("name", ["goodfellow2015", "frankle2020revisit", "tao2024", "lucas2021"])
def test_where_every_line_is_finite_no_page_speaks_of_nan(name: str) -> None:
    for answer in answers(with_nan(name)):
        words = sentences.of(answer)
        assert "NaN" not in words.verdict + words.headline + words.method


@pytest.mark.parametrize(
    ("name", "label", "counted"),
    [
        ("goodfellow2015", "whole", {"smooth-and-monotone": 6}),
        ("goodfellow2015", goodfellow2015.NOISE, {"smooth-and-monotone": 6}),
        ("tao2024", "from zeros", {"other-starts": 3}),
        ("frankle2020revisit", "whole", {"fall-along-the-line": 3, "barriers-within-training": 3}),
        ("frankle2020revisit", "from epoch 1", {"barriers-within-training": 3}),
        (
            "lucas2021",
            "whole",
            {"grid-of-lines": 4, "distance-and-rise": 4, "grid-of-residual-lines": 8, "gauss-length": 2}
            | {"other-ends": 1},
        ),
        ("lucas2021", lucas2021.ELSEWHERE, {"grid-of-lines": 4, "gauss-length": 2}),
        ("lucas2021", "units permuted", {"other-ends": 1}),
    ],
)
def test_a_page_says_how_many_lines_have_a_nan(name: str, label: str, counted: dict[str, int]) -> None:
    """A line of the first seed of each arm that has such lines."""
    for answer in answers(with_nan(name, label)):
        words = sentences.of(answer).verdict
        count = counted.get(answer.name, 0)
        assert (f"{SENTENCE} {count} line{'s' * (count != 1)};" in words) == bool(count), (answer.name, words)
        assert ("NaN" in words) == bool(count), answer.name


def test_such_a_line_is_not_among_the_monotone_ones() -> None:
    (starts,) = answers(with_nan("tao2024", "from zeros"))
    assert [(row["monotone"], row["runs"]) for row in starts.facts["primary"]] == [(1, 2)] * 3
    smooth = named(with_nan("goodfellow2015", "whole"))["smooth-and-monotone"]
    assert [(row["monotone"], row["runs"]) for row in smooth.facts["rows"]] == [(1, 2)] * 6
    made = named(with_nan("lucas2021", "whole"))
    grid, ends, distance = (made[name] for name in ("grid-of-lines", "other-ends", "distance-and-rise"))
    assert [(row["not_monotone"], row["kept"]) for row in grid.facts["rows"]] == [(1, 4)] * 4
    assert (ends.facts["own"]["monotone"], ends.facts["own"]["runs"]) == (2, 3)
    assert distance.facts["rows"][0]["runs"] == 4 * 3, "what has no rise has no correlation"


def test_infinity_is_no_nan() -> None:
    """A line that starts at infinity falls; its barrier is undefined, but not for want of numbers."""
    study = studies.find("frankle2020revisit", "demo")
    made = lines_of(study, lambda arm, seed, label, at: np.where(at == 0, np.inf, 2 - at), [0.0, 0.5, 1.0])
    assert all("NaN" not in sentences.of(answer).verdict for answer in answers(made))


@pytest.mark.parametrize("middle", [np.nan, np.inf])
def test_the_figure_of_a_grid_prints_what_is_not_finite(middle: float) -> None:
    study = studies.find("lucas2021", "demo").only("sgd")
    made = lines_of(study, lambda arm, seed, label, at: np.where(at == 0.5, middle, 2 - 1.7 * at), [0.0, 0.5, 1.0])
    figure = rises_by_setting(named(made)["grid-of-lines"].facts["points"], 1e-3)
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.axes[0].texts] == ["NaN" if np.isnan(middle) else "∞"] * 4
