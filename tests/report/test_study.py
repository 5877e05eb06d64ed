"""The page of a study and the files beside it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import polars as pl
import pytest

from linescape import report
from linescape.analysis import tables
from linescape.errors import StoreError
from linescape.report.longer import more_runs
from linescape.studies.study import Moment, Run, Scan
from tests.support.fake_study import FakeStore, study


def test_answers_stand_first_with_numbers(written: Path) -> None:
    text = written.read_text()
    sections = re.findall(r'<section id="([^"]+)"><h2>', text)
    assert sections[:3] == ["glance", "summary", "answers"]
    assert {
        "accuracy",
        "batchnorm",
        "lines",
        "layers",
        "partial",
        "distances",
        "others",
        "definitions",
        "provenance",
    } <= set(sections)
    assert text.count('class="verdict"') == 7
    assert len(re.findall(r'<a href="#answer-[a-z-]+">Does', text)) == 2  # the two main questions, in short
    assert len(re.findall(r'<a href="#answer-[a-z-]+">Which', text)) == 1
    assert "too little data to say" in text or "Inconclusive" in text
    assert text.count("Primary contrast, declared before looking") == 6


def test_the_first_section_says_what_was_trained_and_shows_all_lines(written: Path) -> None:
    text = unescape(written.read_text()).replace("\u00a0", " ")
    glance = text[text.index('id="glance"') : text.index('id="summary"')]
    assert "a ResNet-8 on fashion-mini" in glance
    assert "under 5 interventions, 2 seeds each" in glance
    assert "figures/overview.svg" in glance
    assert glance.count("<li><strong>") == 3


def test_few_runs_come_with_the_command_that_decides(tmp_path: Path) -> None:
    made = replace(study(2, 11).only("base", "data-20", "no-weight-decay"), larger="mini")
    store = FakeStore.with_trouble(made)
    text = report.write(made, store, tmp_path / "few").read_text()
    assert "linescape study run vlaar2022 --scale mini --arms base data-20 no-weight-decay" in text
    assert re.search(r"5 runs of each arm take about \d+ min on this machine", text)
    assert more_runs(tables.read(made, store)) is not None
    assert more_runs(tables.read(replace(made, name="of mine"), store)) is None


def test_what_is_missing_or_diverged_is_on_the_page(written: Path) -> None:
    text = written.read_text()
    assert "runs is not finished" in text
    assert "the training ended in NaN or infinity" in text
    assert "not done yet: training, whole" in text
    assert "NaN or infinite" in text


def test_tables_and_figures_are_written_with_the_page(written: Path) -> None:
    names = {path.name for path in (written.parent / "tables").iterdir()}
    assert {"runs.csv", "accuracy.csv", "lines.csv", "distances.csv", "partial.csv", "shapes.csv", "walks.csv"} <= names
    assert {"answer-shape-and-accuracy.csv", "answer-distance-and-monotonicity.csv"} <= names
    assert {"answer-shape-and-accuracy-groups.csv", "answer-barrier-and-batchnorm.csv", "heights.csv"} <= names
    runs = pl.read_csv(written.parent / "tables" / "runs.csv", infer_schema_length=None)
    assert runs.height == 14
    assert set(runs["status"]) == {"done", "diverged", "missing"}
    assert runs.filter(pl.col("arm") == "depth-20")["missing"].str.contains("training; whole").any()
    suffixes = {path.suffix for path in (written.parent / "figures").iterdir()}
    assert suffixes == {".svg", ".pdf", ".png"}


def test_answers_are_a_file_of_outcomes_and_sentences_too(written: Path) -> None:
    answers = json.loads((written.parent / "answers.json").read_text())
    assert len(answers) == 7
    assert answers[0]["name"] == "shape-and-accuracy"
    assert answers[0]["outcomes"]["hump"] in {"above", "below", "inconclusive", "no interval"}
    page = unescape(written.read_text()).replace("\u00a0", " ")
    for answer in answers:
        assert all(paragraph in page for paragraph in answer["verdict"].split("\n"))


def test_single_convolutions_have_a_figure_of_their_own(tmp_path: Path) -> None:
    made = study(2, 11).only("base")
    names = [f"layer2.{block}.conv{conv}" for block in range(3) for conv in (1, 2)]
    fine = [
        replace(run, lines={**run.lines, **{name: Scan(*_ends(run), block=name, alphas=11) for name in names}})
        for run in made.arms[0].runs
    ]
    made = replace(made, arms=(replace(made.arms[0], runs=tuple(fine)),))
    report.write(made, FakeStore(made), tmp_path)
    assert all(name in (tmp_path / "figures" / "convolutions-base.svg").read_text() for name in names)
    others = [path for path in (tmp_path / "figures").glob("*.svg") if path.stem != "convolutions-base"]
    assert others
    assert not any(names[0] in path.read_text() for path in others)


def _ends(run: Run) -> tuple[Moment, Moment]:
    return Moment(run.recipe, "start"), Moment(run.recipe)


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    made = study(1, 5).only("base")
    pages = [report.write(made, FakeStore(made, examples=20), tmp_path / name) for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_study_without_any_result_has_a_page_too(tmp_path: Path) -> None:
    made = study(1, 5).only("base", "ri-layer1")
    path = report.write(made, FakeStore(made, missing=set(made.tasks())), tmp_path)
    assert "2 of 2 runs are not finished" in path.read_text()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = study(1, 5).only("base")
    with pytest.raises(StoreError):
        report.write(made, FakeStore(made, examples=20), tmp_path / "file")
