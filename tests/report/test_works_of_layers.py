"""Figures and tables of the works about layers and pairs of networks."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from linescape import studies
from linescape.analysis.answers import Answer, answers
from linescape.analysis.tables import Results
from linescape.report import columns_of_works, page, works
from linescape.report.study import _Gallery
from linescape.report.study_lines import StudyLines
from linescape.studies.study import Run, Scan
from tests.support.works import results

STUDIES = ("adilova2024", "ainsworth2022", "chatterji2020", "jordan2022", "neyshabur2020", "zhang2019")


def made(name: str) -> Results:
    """Results of a study at its smallest scale, with errors and losses that vary along lines and between runs."""

    def value(_: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float]:
        height = 4 * alpha * (1 - alpha) * (1 + len(scan.moving)) + 0.1 * run.seed
        return (10.0 + 5 * height, 0.5 + height)

    study = studies.find(name, "demo")
    blocks = {scan.block for arm in study.arms for run in arm.runs for scan in run.lines.values() if scan.block}
    moved = [
        {"arm": arm.name, "seed": run.seed, "block": block, "distance": 1.0, "distance_per_parameter": 0.1}
        for arm in study.arms
        for run in arm.runs
        for block in sorted(blocks)
    ]
    return results(study, value, moved, lambda _, run: 80.0 + run.seed)


def answered(name: str) -> tuple[Answer, ...]:
    return answers(made(name))


def figures(name: str) -> dict[str, Figure]:
    gallery = _Gallery()
    for answer in answered(name):
        if answer.name in works.DRAWINGS:
            works.DRAWINGS[answer.name](answer, gallery)
    return gallery.figures


@pytest.mark.parametrize("name", STUDIES)
def test_each_answer_has_its_table(name: str) -> None:
    for answer in answered(name):
        shown = page.table(answer.numbers, columns_of_works.COLUMNS[answer.name])
        assert shown.count("<tr>") + shown.count("<tr ") >= answer.numbers.height


def test_layers_that_are_set_back() -> None:
    """A cell with its value for each layer and state, and a bar for the distance of each layer."""
    drawn = figures("zhang2019")
    assert set(drawn) == {"layers-set-back-base", "layers-set-back-connected"}
    cells, bars = drawn["layers-set-back-connected"].axes
    assert [label.get_text() for label in cells.get_xticklabels()] == ["start", "epoch 1", "epoch 3", "another draw"]
    assert [label.get_text() for label in cells.get_yticklabels()] == ["layers.0", "layers.1", "layers.2"]
    assert len(cells.texts) == 12
    assert len(bars.patches) == 3


def test_the_smallest_alphas_are_marked_on_the_map() -> None:
    axes = figures("chatterji2020")["modules"].axes[0]
    assert len(axes.lines) == 10


def test_both_panels_of_averaged_layers_have_one_scale() -> None:
    drawn = figures("adilova2024")
    assert set(drawn) == {f"averaged-layers-{arm}" for arm in ("two-seeds", "same-start", "no-norm")}
    left, right = drawn["averaged-layers-two-seeds"].axes
    assert left.get_xlim()[0] == right.get_ylim()[0]
    shallow, deep = (heights for line in right.lines if (heights := np.asarray(line.get_ydata())).size == 10)
    assert shallow[-1] == deep[-1], "all layers"


def test_a_panel_for_each_kind_of_pair_and_a_place_for_each_size_of_blocks() -> None:
    drawn = figures("neyshabur2020")
    assert sum(axes.get_visible() for axes in drawn["transfer-barriers"].axes) == 6
    (axes,) = drawn["worth-of-pretraining"].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "0"]


def test_other_lines_are_drawn_over_each_other_where_they_can_be_told_apart() -> None:
    assert StudyLines(made("zhang2019"), _Gallery())._others() is None, "over fifty lines"
    assert StudyLines(made("neyshabur2020"), _Gallery())._others() is not None


def test_ways_of_joining_two_networks_lie_apart() -> None:
    """A dot for each pair and a tick for each way and network, each way at a height of its own."""
    (axes,) = figures("ainsworth2022")["joined-networks"].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "3 layers of 512 units",
        "3 layers of 32 units",
        "ResNet with LayerNorm",
    ]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(np.asarray(line.get_xdata())) for line in dots] == [2] * 9
    heights = sorted({float(np.asarray(line.get_ydata())[0]) for line in dots})
    assert len(heights) == 9
    assert min(np.diff(heights)) > 0.2
