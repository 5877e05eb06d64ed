"""Monotone lines and barriers between solutions, from curves that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.tables import trajectory
from linescape.analysis.works.goodfellow2015 import largest_step
from linescape.report import sentences
from linescape.studies.works.goodfellow2015 import BEST, BEYOND, NOISE, OTHER
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("goodfellow2015", "mini")


def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
    """A straight fall; a rise for two LSTMs; a barrier between solutions of all but sigmoid networks."""
    if label == OTHER:
        return np.where(at == 0.5, 1.0 + 0.01 * seed if arm != "sigmoid" else 0.01 + 0.001 * seed, 0.0)
    rise = 0.2 if arm == "lstm" and seed < 2 and label == "whole" else 0.0
    return np.where(at == 0.5, 1.6 + rise, 2 - at + 3 * np.maximum(0, at - 1))


def test_exceptions_are_named() -> None:
    at = np.concatenate([np.linspace(0, 1, 11), [1.5]])
    monotone, solutions, way = answers(lines_of(STUDY, shape, at))
    rows = {row["arm"]: row for row in monotone.facts["rows"]}
    assert {arm: row["monotone"] for arm, row in rows.items()} == {**dict.fromkeys(rows, 6), "lstm": 4}
    assert rows["lstm"]["highest"] == pytest.approx(0.2)
    assert rows["relu"]["beyond"] == pytest.approx(1.0)
    assert {row["noise"] for row in rows.values()} == {6}
    words = sentences.of(monotone)
    assert words.headline == "Monotone in 34 of 36 runs; exceptions: LSTM, 2 of 6."
    assert "best on examples held out, monotone: ReLU (a sixth held out) 6 of 6." in words.verdict
    assert solutions.outcomes == {**dict.fromkeys(rows, Outcome.ABOVE), "sigmoid": Outcome.BELOW}
    (relu, *_) = solutions.facts["rows"]
    assert (relu["pairs"], relu["free"], relu["lowest"]) == (6, 3, pytest.approx(1.0))
    assert relu["barrier"] == pytest.approx(1.02), "of seeds 0, 2 and 4, which share no network"
    assert sentences.of(solutions).headline.startswith("Yes: ReLU, ReLU (a sixth held out), maxout")
    assert sentences.of(way).headline == "No state within a training is kept yet."


def test_the_way_of_a_training_is_its_largest_distance() -> None:
    states = [("start", 0.0, 0.0), ("step 5", 0.1, 0.3), ("epoch 1", 0.4, 0.6), ("end", 1.0, 0.0)]
    rows = [
        {"arm": "relu", "group": "model", "title": "ReLU", "seed": seed, "state": name, "along": along}
        | {"beside": beside * (1 + 0.1 * seed)}
        for seed in range(3)
        for name, along, beside in states
    ]
    made = replace(lines_of(STUDY, shape), trajectories=pl.DataFrame(rows, schema=trajectory.ROW))
    (row,) = answers(made)[2].facts["rows"]
    assert (row["beside"], row["along"]) == pytest.approx((0.66, 0.4))
    assert row["low"] < 0.66 < row["high"]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([4, 3, 2, 1, 0], 25), ([2, 2, 0, 0], 100), ([1, 1, 1], math.nan), ([1, math.nan, 0], math.nan)],
)
def test_largest_step(losses: list[float], expected: float) -> None:
    assert largest_step(np.linspace(0, 1, len(losses)), losses) == pytest.approx(expected, nan_ok=True)


def test_nothing_measured() -> None:
    made = answers(lines_of(STUDY, lambda *_: None))
    assert [sentences.of(answer).headline for answer in made[:2]] == ["No line is measured yet."] * 2
    labels = {label for arm in STUDY.arms for run in arm.runs for label in run.lines}
    assert labels == {"whole", BEST, BEYOND, NOISE, OTHER}
