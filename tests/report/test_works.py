"""Tables and figures of the answers of other works, from curves that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis.answers import answers
from linescape.analysis.tables import trajectory
from linescape.interpolation.by_class import ClassErrors
from linescape.interpolation.turning import GaussLength
from linescape.report import sentences
from linescape.report.answers import answer_entry
from linescape.report.page import Folder
from linescape.report.study_lines import StudyLines
from linescape.studies.study import Classes, Turning
from tests.support.lines_of_studies import lines_of

WAY = pl.DataFrame(
    [
        {"arm": "relu", "group": "model", "title": "ReLU", "seed": 0, "state": state, "along": along, "beside": beside}
        for state, along, beside in (("start", 0.0, 0.0), ("step 5", 0.3, 0.2), ("end", 1.0, 0.0))
    ],
    schema=trajectory.ROW,
)


NAMES = [
    "frankle2020revisit",
    "garipov2018",
    "goodfellow2015",
    "hu2021",
    "li2018",
    "liu2020",
    "lucas2021",
    "tao2024",
    "wang2023",
]


@pytest.mark.parametrize("name", NAMES)
def test_each_answer_has_its_figure_and_its_table(name: str, tmp_path: Path) -> None:
    study = studies.find(name, "demo").only(runs=3)
    alphas = [0.0, 0.5, 1.0, 1.5] if name == "goodfellow2015" else [0.0, 0.5, 1.0]
    made = lines_of(study, lambda arm, seed, label, at: np.abs(2.1 - 2 * at) + 0.1 * seed * at, alphas)
    runs = made.runs.with_columns(test_accuracy=pl.lit(80.0), start_error=pl.lit(0.0))
    ones = np.ones((2, 1))
    turning = {
        (arm.name, run.seed, label): GaussLength(np.array([0.0, 1.0]), ones, ones < 0, ones, ones[1:])
        for arm in study.arms
        for run in arm.runs
        for label in run.measured.get(Turning, {})
    }
    by_class = ClassErrors(np.array([0.0, 1.0]), np.array([[100.0, 0.0], [5.0, 0.0]]), np.array([1, 1]), np.arange(2.0))
    classes = {
        (arm.name, run.seed, label): by_class
        for arm in study.arms
        for run in arm.runs
        for label in run.measured.get(Classes, {})
    }
    made = replace(made, runs=runs, trajectories=WAY, measured={Turning: turning, Classes: classes})
    folder = Folder(tmp_path)
    for answer in answers(made):
        entry = answer_entry(answer, sentences.of(answer), made.runs, folder)
        assert entry["tables"], answer.name
        assert entry["drawings"], answer.name
        assert (tmp_path / "tables" / f"answer-{answer.name}.csv").exists()


def test_a_line_is_drawn_under_its_own_first_treatment(tmp_path: Path) -> None:
    """Not under the first treatment of any line, which it may not have."""
    study = studies.find("lucas2021", "demo").only("sgd", "sgd-batchnorm", "adam", "adam-batchnorm")
    made = lines_of(study, lambda arm, seed, label, at: 2 - at, [0.0, 0.5, 1.0])
    other = pl.when(pl.col("arm").str.contains("batchnorm")).then(pl.lit("recalibrate")).otherwise("batchnorm")
    lines = made.lines.with_columns(batchnorm=other)
    both = pl.concat([lines, lines.with_columns(batchnorm=pl.lit("end"))])
    shown = StudyLines(replace(made, lines=both), Folder(tmp_path)).test
    assert shown.group_by("arm").len().sort("arm")["len"].n_unique() == 1
    assert set(shown["arm"]) == {arm.name for arm in made.study.arms}
    assert set(shown["batchnorm"]) == {"interpolate", "recalibrate"}
