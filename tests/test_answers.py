from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from fake_study import results, study
from linescape import answers, tables
from linescape.definitions import SHAPES


def made_up(arms: int, runs: int = 3, **columns: Any) -> pl.DataFrame:
    """A table of runs in which only the given columns (one value a run) differ."""
    count = arms * runs
    rows = [
        {
            "arm": f"arm {i // runs}",
            "group": "optimizer",
            "title": f"arm {i // runs}",
            "baseline": "arm 0",
            "seed": i % runs,
            "test_set": "x",
            "status": "done",
            **{f"test_{number}": 0.0 for number in SHAPES},
            "test_accuracy": 90.0,
            "distance": 1.0,
            "relative_distance": 1.0,
            **{name: float(values[i]) for name, values in columns.items()},
        }
        for i in range(count)
    ]
    return pl.DataFrame(rows, schema=results().runs.schema)


def test_definitions_are_of_all_shape_numbers_and_of_no_others() -> None:
    assert set(SHAPES) == set(tables.SHAPES)


def test_a_study_gets_the_answers_that_its_arms_ask_for() -> None:
    assert [answer.name for answer in answers.answers(results())] == [
        "shape-and-accuracy",
        "distance-and-monotonicity",
        "start-and-barrier",
        "partial-pretraining",
    ]
    one = tables.Results(study(2, 5).only("base", "data-20"), *[results().runs] * 5)
    assert len(answers.answers(one)) == 2


def test_no_verdict_says_more_than_its_interval() -> None:
    shape, distance, start, partial = answers.answers(results())
    assert (
        (shape.numbers["low_all"] > 0).any() or (shape.numbers["high_all"] < 0).any() or "do not tell" in shape.verdict
    )
    row = distance.numbers.row(0, named=True)
    assert (row["low"] <= 0.5 <= row["high"]) == ("do not tell" in distance.verdict)
    for row, said in zip(
        start.numbers.filter(pl.col("number") == "min_delta").to_dicts(), start.verdict.split("\n"), strict=True
    ):
        assert (row["low_all"] > 0) == (" raises " in said)
        assert (row["high_all"] < 0) == (" lowers " in said)
    for row in partial.numbers.filter(pl.col("difference").is_not_null()).to_dicts():
        line = next(text for text in partial.verdict.split("\n") if row["title"] in text)
        assert line.startswith("Less") == (row["high_all"] < 0)


def test_a_clear_relation_is_said_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    hump = np.repeat(np.arange(14.0), 3) + 0.3 * rng.normal(size=42)
    noise = rng.normal(size=42)
    found = answers.shape_and_accuracy(
        made_up(14, test_hump=hump, test_area=noise, test_accuracy=80 - hump + 0.5 * noise)
    )
    assert found.verdict.startswith("Across interventions, 1 of 2 shape numbers")
    assert "hump (ρ = −" in found.verdict
    assert "Without variation" in found.method


def test_no_relation_is_not_told() -> None:
    rng = np.random.default_rng(1)
    found = answers.shape_and_accuracy(made_up(12, test_hump=rng.normal(size=36), test_accuracy=rng.normal(size=36)))
    assert found.verdict.startswith("These 36 runs of 12 arms do not tell")


def test_a_relation_inside_arms_alone_is_said_as_such() -> None:
    rng = np.random.default_rng(2)
    inside, arm = rng.normal(size=48), np.repeat(rng.normal(size=12), 4) * 50
    other, noise = np.repeat(rng.normal(size=12), 4) * 50, 0.3 * rng.normal(size=48)
    found = answers.shape_and_accuracy(made_up(12, 4, test_hump=inside + arm, test_accuracy=inside + other + noise))
    assert "Inside arms, where only the seed differs, so do" in found.verdict


def test_three_arms_do_not_tell() -> None:
    rng = np.random.default_rng(3)
    found = answers.shape_and_accuracy(made_up(3, test_hump=rng.normal(size=9), test_accuracy=rng.normal(size=9)))
    assert "needs 4 arms" in found.verdict


@pytest.mark.parametrize(("rise", "words"), [(0.0, "all are monotone"), (1.0, "none is monotone")])
def test_distance_cannot_be_asked_without_both_kinds(rise: float, words: str) -> None:
    found = answers.distance_and_monotonicity(made_up(6, test_min_delta=np.full(18, rise)))
    assert words in found.verdict
    assert math.isnan(found.numbers["auc"][0])


def test_distance_that_goes_with_rises_is_said_and_its_opposite_too() -> None:
    rise = np.repeat([0.0] * 7 + [1.0] * 7, 3)
    far = rise + 0.01 * np.random.default_rng(4).random(42)
    found = answers.distance_and_monotonicity(made_up(14, test_min_delta=rise, relative_distance=far))
    assert "larger relative distance" in found.verdict
    found = answers.distance_and_monotonicity(made_up(14, test_min_delta=rise, relative_distance=-far))
    assert "smaller relative distance" in found.verdict


def test_a_start_that_raises_the_barrier_beyond_doubt() -> None:
    rng = np.random.default_rng(5)
    rise = np.concatenate([rng.normal(0.2, 0.02, 6), rng.normal(2.0, 0.02, 6), rng.normal(0.21, 0.05, 6)])
    found = answers.start_and_barrier(
        made_up(3, 6, test_min_delta=rise), {"arm 1": "trained on wrong labels", "arm 2": "pre-trained"}
    )
    first, second = found.verdict.split("\n")
    assert first.startswith("Arm 1 raises min Δ: ")
    assert "these 12 runs do not tell" in second


def test_without_any_barrier_there_is_nothing_to_change() -> None:
    found = answers.start_and_barrier(made_up(2), {"arm 1": "pre-trained"})
    assert "no line of either arm rises at all" in found.verdict


def test_nothing_measured_is_said() -> None:
    empty = made_up(3).with_columns(
        *(pl.lit(None, pl.Float64).alias(f"test_{number}") for number in SHAPES),
        test_accuracy=pl.lit(None, pl.Float64),
        distance=pl.lit(None, pl.Float64),
    )
    assert "needs 4 arms" in answers.shape_and_accuracy(empty).verdict
    assert answers.distance_and_monotonicity(empty).verdict == "No line is measured yet."
    assert "not measured yet" in answers.start_and_barrier(empty, {"arm 1": "pre-trained"}).verdict
