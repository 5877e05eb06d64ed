"""Whatever part of a study is measured, it has answers in words, and none about what is not measured."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis import tables
from linescape.analysis.answers import answers
from linescape.analysis.tables import trajectory
from linescape.report import sentences
from linescape.studies import works
from linescape.studies.study import Arm, Moment, Run, Scan, Study
from tests.support import fake_study
from tests.support.lines_of_studies import lines_of

DISTANCES = {
    **{"arm": pl.String, "seed": pl.Int64, "block": pl.String},
    **dict.fromkeys(("distance", "distance_per_parameter"), pl.Float64),
}


@pytest.mark.parametrize("name", works.NAMES)
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_parts_of_a_study_have_answers(name: str, share: float) -> None:
    study, rng = studies.find(name, "demo"), random.Random(0)

    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray | None:
        middle = rng.choice([0.5, 3.0, np.nan])
        return np.where(at == 0.5, middle, np.abs(2.1 - 2 * at) + 0.1 * seed) if rng.random() < share else None

    made = lines_of(study, shape, [0.0, 0.5, 1.0, 1.5] if name == "goodfellow2015" else [0.0, 0.5, 1.0])
    known = [80.0 if rng.random() < share else None for _ in range(made.runs.height)]
    columns = {"test_accuracy": known, "train_accuracy": known, "start_error": known}
    runs = made.runs.with_columns(pl.Series(key, values, pl.Float64) for key, values in columns.items())
    distances, states = pl.DataFrame(schema=DISTANCES), pl.DataFrame(schema=trajectory.ROW)
    for answer in answers(replace(made, runs=runs, trajectories=states, distances=distances)):
        words = sentences.of(answer)
        assert words.headline
        assert answer.numbers.height or words.published.endswith(": not measured.")


def test_lines_to_a_training_that_diverged_are_known() -> None:
    base, other = (arm.runs[0] for arm in fake_study.study(seeds=1).arms[:2])
    line = Scan(Moment(base.recipe), Moment(other.recipe))
    arm = Arm("base", "base", "pairs", (Run(base.recipe, {"whole": base.lines["whole"], "between": line}),))
    study = Study("made-up", "", "Made up", "", (arm,))
    store = fake_study.FakeStore(study)
    assert tables.read(study, store).of_diverged == frozenset()
    store.lost |= {other.recipe}
    found = tables.read(study, store)
    assert found.of_diverged == {("base", 0, "between")}
    assert found.runs["status"].to_list() == ["done"]
