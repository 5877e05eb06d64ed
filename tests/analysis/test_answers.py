from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from linescape.analysis import answers, tables
from linescape.analysis.answers import choices
from linescape.analysis.answers.initialisations import ADVERSARIAL, RESTARTED
from linescape.report import answers as answered
from linescape.report.page import Folder
from linescape.shape.definitions import DEFINITIONS
from linescape.studies.vlaar2022 import published
from tests.support.fake_study import TREATMENTS, FakeStore, results, study


def made_up(arms: int, runs: int = 3, groups: int = 1, **columns: Any) -> pl.DataFrame:
    """A table of runs in which only the given columns (one value a run) differ; arms in `groups` of equal size."""
    count = arms * runs
    rows = [
        {
            "arm": f"arm {i // runs}",
            "group": f"group {i // runs * groups // arms}",
            "title": f"arm {i // runs}",
            "baseline": "arm 0",
            "seed": i % runs,
            "test_set": "x",
            "status": "done",
            **{f"test_{number}": 0.0 for number in DEFINITIONS},
            "test_accuracy": 90.0,
            "distance": 1.0,
            "relative_distance": 1.0,
            **{name: float(values[i]) for name, values in columns.items()},
        }
        for i in range(count)
    ]
    return pl.DataFrame(rows, schema=results().runs.schema)


def test_definitions_are_of_all_shape_numbers_and_of_no_others() -> None:
    assert set(DEFINITIONS) == set(tables.SHAPES)


def test_a_study_gets_the_answers_that_its_arms_ask_for() -> None:
    assert [answer.name for answer in answers.answers(results())] == [
        "shape-and-accuracy",
        "interventions-and-shape",
        "distance-and-monotonicity",
        "start-and-barrier",
        "partial-pretraining",
        "layers-and-line",
        "barrier-and-batchnorm",
    ]
    one = dataclasses.replace(results(), study=study(2, 5).only("base", "data-20"))
    assert [answer.name for answer in answers.answers(one)] == [
        "shape-and-accuracy",
        "interventions-and-shape",
        "distance-and-monotonicity",
        "layers-and-line",
        "barrier-and-batchnorm",
    ]


def test_no_verdict_says_more_than_its_interval() -> None:
    shape, changes, distance, start, partial, _, sensitivity = answers.answers(results())
    hump = shape.numbers.filter(pl.col("number") == "hump").row(0, named=True)
    assert (hump["low"] <= 0 <= hump["high"]) == shape.verdict.startswith("Inconclusive")
    assert hump["low_all"] == hump["low"]
    row = distance.numbers.row(0, named=True)
    assert (row["distance"], row["rise"]) == ("relative_distance", "hump")
    assert (row["low"] <= 0.5 <= row["high"]) == ("Inconclusive" in distance.verdict)
    for row, said in zip(start.numbers.filter("primary").to_dicts(), start.verdict.split("\n"), strict=True):
        assert row["number"] == ("barrier_above_chord" if row["start"] == "pre-trained" else "hump")
        assert row["low_all"] == row["low"] or math.isnan(row["low"])
        assert (row["low"] > 0) == (" raises " in said)
        assert (row["high"] < 0) == (" lowers " in said)
        assert math.isnan(row["low"]) == ("too few runs" in said or "nothing to change" in said)
    changed = changes.numbers.fill_nan(None).filter((pl.col("low_all") > 0) | (pl.col("high_all") < 0))
    assert changed.filter(pl.col("number") != "accuracy").height == 0 or "The shape changes in" in changes.headline
    for row, said in zip(
        start.numbers.filter(pl.col("number") == "accuracy").to_dicts(), start.verdict.split("\n"), strict=True
    ):
        assert (row["low_all"] > 0) == ("accuracy is higher" in said)
        assert (row["high_all"] < 0) == ("accuracy is lower" in said)
    for row in partial.numbers.filter(pl.col("difference").is_not_null()).to_dicts():
        line = next(text for text in partial.verdict.split("\n") if row["title"] in text)
        assert line.startswith("Less") == (row["high_all"] < 0)
    for row in sensitivity.numbers.to_dicts():
        assert (row["sign"] == "+") == (row["low"] > row["none"])
        assert (row["sign"] == "−") == (row["high"] < row["none"])
        assert row["stands"] <= (row["sign"] in "+−")


def test_a_clear_relation_is_said_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    hump = np.repeat(np.arange(14.0), 3) + 0.3 * rng.normal(size=42)
    noise = rng.normal(size=42)
    found = answers.shape_and_accuracy(
        made_up(14, test_hump=hump, test_area=noise, test_accuracy=80 - hump + 0.5 * noise)
    )
    assert found.verdict.startswith("Lines with a higher hump have lower test accuracy")
    assert "Across interventions, 1 of 2 shape statistics" in found.verdict
    assert "hump (ρ = −" in found.verdict
    assert "Without variation" in found.method


def test_no_relation_is_inconclusive() -> None:
    rng = np.random.default_rng(1)
    found = answers.shape_and_accuracy(made_up(12, test_hump=rng.normal(size=36), test_accuracy=rng.normal(size=36)))
    assert found.verdict.startswith("Inconclusive: the 95 % interval of the hump's rank correlation")


def test_a_relation_inside_arms_alone_is_said_as_such() -> None:
    rng = np.random.default_rng(2)
    inside, arm = rng.normal(size=48), np.repeat(rng.normal(size=12), 4) * 50
    other, noise = np.repeat(rng.normal(size=12), 4) * 50, 0.3 * rng.normal(size=48)
    found = answers.shape_and_accuracy(made_up(12, 4, test_hump=inside + arm, test_accuracy=inside + other + noise))
    assert "Inside arms, where only the seed differs, these are correlated with it: hump" in found.verdict
    assert found.here == "inconclusive"


def test_three_arms_are_too_few() -> None:
    rng = np.random.default_rng(3)
    found = answers.shape_and_accuracy(made_up(3, test_hump=rng.normal(size=9), test_accuracy=rng.normal(size=9)))
    assert "needs 4 arms" in found.verdict


@pytest.mark.parametrize(("rise", "words"), [(0.0, "all are monotone"), (1.0, "none is monotone")])
def test_distance_cannot_be_asked_without_both_kinds(rise: float, words: str) -> None:
    found = answers.distance_and_monotonicity(made_up(6, test_hump=np.full(18, rise)))
    assert words in found.verdict
    assert math.isnan(found.numbers["auc"][0])


def test_distance_that_goes_with_rises_is_said_and_its_opposite_too() -> None:
    rise = np.repeat([0.0] * 7 + [1.0] * 7, 3)
    far = rise + 0.01 * np.random.default_rng(4).random(42)
    found = answers.distance_and_monotonicity(made_up(14, test_hump=rise, relative_distance=far))
    assert "larger relative distance" in found.verdict
    assert " a larger relative distance goes with lines that are not monotone" in found.headline
    found = answers.distance_and_monotonicity(made_up(14, test_hump=rise, relative_distance=-far))
    assert "smaller relative distance" in found.verdict
    assert " a smaller relative distance goes with lines that are not monotone" in found.headline


def test_a_start_that_raises_the_barrier_beyond_doubt() -> None:
    rng = np.random.default_rng(5)
    rise = np.concatenate([rng.normal(0.2, 0.02, 6), rng.normal(2.0, 0.02, 6), rng.normal(0.21, 0.05, 6)])
    found = answers.start_and_barrier(
        made_up(3, 6, test_hump=rise, test_barrier_above_chord=rise),
        {"arm 1": "trained on wrong labels", "arm 2": "pre-trained"},
    )
    first, second = found.verdict.split("\n")
    assert first.startswith("Arm 1 raises the hump: ")
    assert "Inconclusive: the 95 % interval of the difference" in second


def test_without_any_barrier_there_is_nothing_to_change() -> None:
    found = answers.start_and_barrier(made_up(2), {"arm 1": "pre-trained"})
    assert "no line of either arm has a barrier above" in found.verdict


def test_nothing_measured_is_said() -> None:
    empty = made_up(3).with_columns(
        *(pl.lit(None, pl.Float64).alias(f"test_{number}") for number in DEFINITIONS),
        test_accuracy=pl.lit(None, pl.Float64),
        distance=pl.lit(None, pl.Float64),
    )
    assert "needs 4 arms" in answers.shape_and_accuracy(empty).verdict
    assert answers.distance_and_monotonicity(empty).verdict == "No line is measured yet."
    assert "not measured yet" in answers.start_and_barrier(empty, {"arm 1": "pre-trained"}).verdict


def test_one_group_that_makes_the_correlation_is_found_out() -> None:
    rng = np.random.default_rng(6)
    far = np.repeat(np.arange(16) >= 8, 3) * 10.0  # the arms of the second of two groups, high in both
    hump, accuracy = far + rng.normal(size=48), far + rng.normal(size=48)
    found = answers.shape_and_accuracy(made_up(16, 3, 2, test_hump=hump, test_accuracy=accuracy))
    assert "Across interventions, 1 of 1 shape statistics" in found.verdict
    assert "0 of these hold whichever group of interventions is left out" in found.verdict
    assert "hump (without group 0, group 1)" in found.verdict
    assert "Inside groups of interventions every interval includes 0." in found.verdict


def test_a_relation_in_every_group_stands_without_any_of_them() -> None:
    rng = np.random.default_rng(7)
    hump = np.repeat(rng.normal(size=20), 3)
    found = answers.shape_and_accuracy(
        made_up(20, 3, 4, test_hump=hump, test_accuracy=-hump + 0.1 * rng.normal(size=60))
    )
    assert "Each holds whichever group of interventions is left out." in found.verdict
    assert "Inside groups of interventions these are correlated with it: hump" in found.verdict
    assert found.groups is not None
    assert (found.groups["inside"] < -0.5).all()
    assert (found.groups["arms"] == 5).all()


def test_a_group_of_few_arms_has_no_relation_of_its_own() -> None:
    rng = np.random.default_rng(8)
    made = made_up(9, 3, 3, test_hump=rng.normal(size=27), test_accuracy=rng.normal(size=27))
    made = made.with_columns(test_min_delta="test_hump")
    for found in (answers.shape_and_accuracy(made), answers.distance_and_monotonicity(made)):
        assert found.groups is not None
        assert found.groups["arms"].to_list()[:3] == [3, 3, 3]
        assert found.groups["inside" if "inside" in found.groups else "auc"].is_nan().all()


def test_numbers_that_hold_the_final_loss_are_named() -> None:
    x = np.repeat(np.random.default_rng(9).normal(size=12), 3)
    found = answers.shape_and_accuracy(made_up(12, test_area=x, test_accuracy=-x + 0.01 * np.arange(36)))
    assert "The formula of mean loss holds the loss at the end itself" in found.verdict


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0])
def test_the_headline_claims_what_the_plain_interval_of_the_primary_contrast_holds(slope: float) -> None:
    rng = np.random.default_rng(10)
    rise = np.repeat(rng.random(14), 3)
    accuracy = slope * rise + 0.2 * rng.normal(size=42)
    found = answers.shape_and_accuracy(made_up(14, test_hump=rise, test_area=rng.random(42), test_accuracy=accuracy))
    row = found.numbers.filter(pl.col("number") == "hump").row(0, named=True)
    assert (row["low_all"], row["high_all"]) == (row["low"], row["high"])
    assert (row["low"] > 0) == ("higher test accuracy" in found.headline)
    assert (row["high"] < 0) == ("lower test accuracy" in found.headline)
    assert (row["low"] <= 0 <= row["high"]) == ("Inconclusive" in found.headline) == (found.here == "inconclusive")


def test_distance_has_rank_correlations_beside_the_auc() -> None:
    rng = np.random.default_rng(11)
    rise, far = rng.random(36), np.repeat(rng.random(12), 3)
    found = answers.distance_and_monotonicity(made_up(12, 3, 3, test_hump=rise, relative_distance=far), 0.95, 0.5)
    row = found.numbers.row(0, named=True)
    assert row["spearman"] == pytest.approx(stats.spearmanr(far, rise).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau(far, rise).statistic)
    assert f"ρ = {row['spearman']:.2f}".replace("-", "−") in found.verdict
    assert found.groups is not None
    assert found.groups["group"].to_list() == ["group 0", "group 1", "group 2"]


@cache
def treated() -> tables.Results:
    made = study(3, 21, treatments=True).only(
        "base", "pretrained", "no-weight-decay", "adversarial", "data-50", "depth-20"
    )
    return tables.read(made, FakeStore(made, examples=60))


def test_every_definition_and_treatment_has_a_cell_for_each_question() -> None:
    found = answers.barrier_and_batchnorm(treated(), answers.starts(treated().study))
    assert found.numbers.height == 4 * len(choices.BARRIERS) * len(TREATMENTS)
    main = found.numbers.filter("main")
    assert sorted(main["question"]) == [
        "Adversarial start, minus its baseline",
        "Correlation with test accuracy, ρ",
        "Pre-trained on CIFAR-10, minus its baseline",
        "Relative distance, AUC",
    ]
    heights = treated().heights.filter(
        (pl.col("label") == "treatments") & (pl.col("batchnorm") == "end") & (pl.col("number") == "hump")
    )
    means = dict(heights.group_by("arm").agg(pl.col("value").mean()).iter_rows())
    cell = found.numbers.filter(
        pl.col("question").str.starts_with("Adversarial")
        & (pl.col("batchnorm") == "end")
        & (pl.col("number") == "hump")
    )
    assert cell["value"][0] == pytest.approx(means["adversarial"] - means["no-weight-decay"])
    same = sum(
        found.numbers.filter((pl.col("question") == row["question"]) & (pl.col("sign") == row["sign"])).height - 1
        for row in main.to_dicts()
        if row["sign"] != choices.UNDEFINED
    )
    assert f"of {found.numbers.height - 4} other cells can be compared with the primary one" in found.verdict
    assert f" {same} say the same, " in found.verdict


def test_without_lines_of_their_own_the_definitions_are_compared_on_whole_lines() -> None:
    found = answers.barrier_and_batchnorm(results(), {})
    assert found.numbers["batchnorm"].unique().to_list() == ["interpolate"]
    assert "from the whole lines" in found.method
    alone = dataclasses.replace(results(), runs=results().runs.filter(pl.col("arm") == "base"))
    assert (
        answers.barrier_and_batchnorm(alone, {}).verdict == "There is too little data to say: no cell has an interval."
    )
    nothing = dataclasses.replace(results(), heights=results().heights.clear())
    assert answers.barrier_and_batchnorm(nothing, {}).verdict == "No line is measured yet."


def test_restarts_are_compared_with_the_same_runs_of_their_baseline() -> None:
    rng = np.random.default_rng(12)
    height = rng.uniform(0.2, 2, 8)
    runs = made_up(2, 8, test_hump=[*height, *(height - 0.1 - 0.01 * rng.random(8))])
    kept = runs.with_columns(
        test_hump=pl.when((pl.col("arm") == "arm 1") & (pl.col("seed") == 0)).then(None).otherwise("test_hump")
    )
    found = answers.start_and_barrier(kept, {"arm 1": RESTARTED})
    row = found.numbers.filter("primary").row(0, named=True)
    assert (row["runs"], row["baseline_runs"], row["paired"]) == (7, 7, True)
    assert row["baseline_mean"] == pytest.approx(height[1:].mean())
    assert -0.12 < row["low"] < row["high"] < -0.09
    assert found.verdict.startswith("Arm 1 lowers the hump: ")
    few = answers.start_and_barrier(kept.filter(pl.col("seed") < 4), {"arm 1": RESTARTED})
    assert "too few runs (3 pairs) for a 95 % interval" in few.verdict


def test_three_against_three_runs_are_too_few_for_a_barrier() -> None:
    hump = [0.0, 0.01, 0.0, 1.0, 1.1, 1.2]
    found = answers.start_and_barrier(made_up(2, 3, test_hump=hump), {"arm 1": ADVERSARIAL})
    assert "too few runs (3 and 3) for a 95 % interval" in found.verdict
    found = answers.interventions_and_shape(made_up(2, 3, test_hump=hump), {})
    assert "There is too little data to say which interventions change the shape" in found.headline
    assert "Group 0: too few runs for an interval of the shape in any of 1 arms." in found.verdict


@pytest.mark.parametrize("follows", [True, False])
def test_interventions_that_change_the_shape_and_whether_accuracy_follows(follows: bool) -> None:
    rng = np.random.default_rng(13)
    hump = np.repeat([0.1, 2.0, 0.1], 10) + 0.02 * rng.random(30)
    accuracy = 90 + 0.1 * rng.random(30) - (np.repeat([0.0, 3.0, 0.0], 10) if follows else 0)
    found = answers.interventions_and_shape(made_up(3, 10, 3, test_hump=hump, test_accuracy=accuracy), {})
    changed = found.numbers.fill_nan(None).filter(pl.col("low_all") > 0)
    assert changed.select("arm", "number").rows() == [("arm 1", "hump")]
    assert "Group 1: the shape changes in 1 of 1 arms that have an interval: arm 1, hump +1.90" in found.verdict
    assert found.headline.endswith(f"test accuracy changes too in {int(follows)} of these 1.")


def test_what_the_source_answers_stands_beside_what_is_found() -> None:
    found = {answer.name: answer for answer in answers.answers(results())}
    assert set(published.FINDINGS) <= set(found)
    said = found["shape-and-accuracy"].published
    assert said.startswith("Source: no, the shape of the linear path is not a reliable indicator")
    assert f"Here: {found['shape-and-accuracy'].here}; " in said
    assert said.endswith("seeds.")
    assert found["barrier-and-batchnorm"].published == ""
    other = dataclasses.replace(results(), study=dataclasses.replace(results().study, name="another"))
    assert {answer.published for answer in answers.answers(other)} == {""}


def test_a_panel_without_information_is_left_out_and_named(tmp_path: Path) -> None:
    found = answers.shape_and_accuracy(results().runs)
    ends = {"hump": (-0.5, 0.6), "area": (-0.99, 1.0)}
    numbers = found.numbers.with_columns(
        pl.col("number").replace_strict({k: v[i] for k, v in ends.items()}, default=math.nan).alias(end)
        for i, end in enumerate(("low", "high"))
    )
    shown = answered.entry(dataclasses.replace(found, numbers=numbers), results().runs, Folder(tmp_path))
    assert shown["left_out"].startswith("Not drawn, since their intervals are undefined or nearly the whole range: ")
    assert "mean loss" in shown["left_out"]
    assert "hump" not in shown["left_out"]
    nothing = dataclasses.replace(found, numbers=numbers.with_columns(low=math.nan))
    shown = answered.entry(nothing, results().runs, Folder(tmp_path))
    assert shown["drawings"] == []
    assert "hump" in shown["left_out"]


def test_starts_that_did_not_learn_their_wrong_labels_are_called_so() -> None:
    runs = results().runs
    poisoned = runs.with_columns(start_learnt=pl.when(pl.col("arm") == "adversarial").then(False))
    special = {"adversarial": "trained on wrong labels"}
    assert "in 3 of 3 runs the wrong labels were not learnt" in answers.start_and_barrier(poisoned, special).verdict
    learnt = poisoned.with_columns(start_learnt=~pl.col("start_learnt"))
    assert "not learnt" not in answers.start_and_barrier(learnt, special).verdict
