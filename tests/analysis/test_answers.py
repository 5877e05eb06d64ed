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
from linescape.analysis.answers import Answer, Outcome, choices
from linescape.analysis.answers.initialisations import ADVERSARIAL, RESTARTED
from linescape.report import sentences
from linescape.report.answers import answer_entry
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


def verdict(answer: Answer) -> str:
    return sentences.of(answer).verdict


def test_definitions_are_of_all_shape_numbers_and_of_no_others() -> None:
    assert set(DEFINITIONS) == set(tables.DEFINITIONS)


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


def test_a_study_of_ones_own_is_asked_first_how_its_arms_differ() -> None:
    made = dataclasses.replace(study(6, 21).only("base", "no-weight-decay", "data-20", "lr-1"), name="mine")
    own = tables.read(made, FakeStore(made))
    first, *others = answers.answers(own)
    assert first.name == "arms-and-line"
    assert not any(answer.finding for answer in (first, *others))
    line = first.numbers.filter(pl.col("number") != "accuracy").fill_nan(None)
    changed = line.filter((pl.col("low_all") > 0) | (pl.col("high_all") < 0))["title"].to_list()
    words = sentences.of(first)
    assert changed
    for row in first.numbers.filter(pl.col("number") == "barrier_above_chord").to_dicts():
        assert first.outcomes[row["arm"]] == Outcome.of(row, "low_all", "high_all")
        assert (row["title"] in words.headline) == (row["title"] in changed)
    few = answers.answers(dataclasses.replace(own, runs=own.runs.filter(pl.col("seed") < 2)))[0]
    assert "too little data" in sentences.of(few).headline
    assert set(few.outcomes.values()) == {Outcome.NO_INTERVAL}


def test_no_verdict_says_more_than_its_interval() -> None:
    shape, changes, distance, start, partial, _, sensitivity = answers.answers(results())
    hump = shape.numbers.filter(pl.col("number") == "hump").row(0, named=True)
    assert (hump["low"] <= 0 <= hump["high"]) == verdict(shape).startswith("Inconclusive")
    assert shape.outcomes == {"hump": Outcome.of(hump)}
    assert hump["low_all"] == hump["low"]
    row = distance.numbers.row(0, named=True)
    assert (row["distance"], row["rise"]) == ("relative_distance", "hump")
    assert (row["low"] <= 0.5 <= row["high"]) == ("Inconclusive" in verdict(distance))
    assert distance.outcomes == {"relative_distance": Outcome.of(row, null=0.5)}
    for row, said in zip(start.numbers.filter("primary").to_dicts(), verdict(start).split("\n"), strict=True):
        assert row["number"] == ("barrier_above_chord" if row["start"] == "pre-trained" else "hump")
        assert row["low_all"] == row["low"] or math.isnan(row["low"])
        assert start.outcomes[row["arm"]] == Outcome.of(row)
        assert (row["low"] > 0) == (f"the {row['label']} is higher" in said)
        assert (row["high"] < 0) == (f"the {row['label']} is lower" in said)
        assert math.isnan(row["low"]) == ("too few runs" in said or "nothing to change" in said)
    changed = changes.numbers.fill_nan(None).filter((pl.col("low_all") > 0) | (pl.col("high_all") < 0))
    assert changed.filter(pl.col("number") != "accuracy").height == 0 or "The shape changes in" in (
        sentences.of(changes).headline
    )
    for row, said in zip(
        start.numbers.filter(pl.col("number") == "accuracy").to_dicts(), verdict(start).split("\n"), strict=True
    ):
        assert (row["low_all"] > 0) == ("accuracy is higher" in said)
        assert (row["high_all"] < 0) == ("accuracy is lower" in said)
    for row in partial.numbers.filter(pl.col("difference").is_not_null()).to_dicts():
        line = next(text for text in verdict(partial).split("\n") if row["title"] in text)
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
    assert verdict(found).startswith("Lines with a higher hump have lower test accuracy")
    assert "Over all interventions, 1 of 2 shape statistics is correlated with test accuracy" in verdict(found)
    assert "hump (ρ = −" in verdict(found)
    assert "Without variation" in sentences.of(found).method


def test_no_relation_is_inconclusive() -> None:
    rng = np.random.default_rng(1)
    found = answers.shape_and_accuracy(made_up(12, test_hump=rng.normal(size=36), test_accuracy=rng.normal(size=36)))
    assert verdict(found).startswith("Inconclusive: the rank correlation ρ of the hump with test accuracy is ")
    assert verdict(found).split("\n")[0].endswith(" includes 0.")


def test_a_relation_inside_arms_alone_is_said_as_such() -> None:
    rng = np.random.default_rng(2)
    inside, arm = rng.normal(size=48), np.repeat(rng.normal(size=12), 4) * 50
    other, noise = np.repeat(rng.normal(size=12), 4) * 50, 0.3 * rng.normal(size=48)
    found = answers.shape_and_accuracy(made_up(12, 4, test_hump=inside + arm, test_accuracy=inside + other + noise))
    assert "Within arms, where only the seed differs, the correlation is clear for: hump" in verdict(found)
    assert sentences.of(found).here == "inconclusive"


def test_three_arms_are_too_few() -> None:
    rng = np.random.default_rng(3)
    found = answers.shape_and_accuracy(made_up(3, test_hump=rng.normal(size=9), test_accuracy=rng.normal(size=9)))
    assert "needs at least 4 arms" in verdict(found)


@pytest.mark.parametrize(("rise", "words"), [(0.0, "all 18 lines are monotone"), (1.0, "none of 18 lines is monotone")])
def test_distance_cannot_be_asked_without_both_kinds(rise: float, words: str) -> None:
    found = answers.distance_and_monotonicity(made_up(6, test_hump=np.full(18, rise)))
    assert words in verdict(found)
    assert math.isnan(found.numbers["auc"][0])


def test_distance_that_goes_with_rises_is_said_and_its_opposite_too() -> None:
    rise = np.repeat([0.0] * 7 + [1.0] * 7, 3)
    far = rise + 0.01 * np.random.default_rng(4).random(42)
    found = answers.distance_and_monotonicity(made_up(14, test_hump=rise, relative_distance=far))
    assert "larger relative distance" in verdict(found)
    assert "Lines that are not monotone have a larger relative distance" in sentences.of(found).headline
    found = answers.distance_and_monotonicity(made_up(14, test_hump=rise, relative_distance=-far))
    assert "smaller relative distance" in verdict(found)
    assert "Lines that are not monotone have a smaller relative distance" in sentences.of(found).headline


def test_a_start_that_raises_the_barrier_beyond_doubt() -> None:
    rng = np.random.default_rng(5)
    rise = np.concatenate([rng.normal(0.2, 0.02, 6), rng.normal(2.0, 0.02, 6), rng.normal(0.21, 0.05, 6)])
    found = answers.start_and_barrier(
        made_up(3, 6, test_hump=rise, test_barrier_above_chord=rise),
        {"arm 1": "trained on wrong labels", "arm 2": "pre-trained"},
    )
    first, second = verdict(found).split("\n")
    assert first.startswith("Arm 1: the hump is higher, ")
    assert "Inconclusive: the difference is " in second


def test_without_any_barrier_there_is_nothing_to_change() -> None:
    found = answers.start_and_barrier(made_up(2), {"arm 1": "pre-trained"})
    assert "no line of either arm has a barrier above chord" in verdict(found)


def test_nothing_measured_is_said() -> None:
    empty = made_up(3).with_columns(
        *(pl.lit(None, pl.Float64).alias(f"test_{number}") for number in DEFINITIONS),
        test_accuracy=pl.lit(None, pl.Float64),
        distance=pl.lit(None, pl.Float64),
    )
    assert "needs at least 4 arms" in verdict(answers.shape_and_accuracy(empty))
    assert verdict(answers.distance_and_monotonicity(empty)) == "No line is measured yet."
    assert "not measured yet" in verdict(answers.start_and_barrier(empty, {"arm 1": "pre-trained"}))


def test_one_group_that_makes_the_correlation_is_found_out() -> None:
    rng = np.random.default_rng(6)
    far = np.repeat(np.arange(16) >= 8, 3) * 10.0  # the arms of the second of two groups, high in both
    hump, accuracy = far + rng.normal(size=48), far + rng.normal(size=48)
    found = answers.shape_and_accuracy(made_up(16, 3, 2, test_hump=hump, test_accuracy=accuracy))
    assert "Over all interventions, 1 of 1 shape statistic is correlated with test accuracy" in verdict(found)
    assert "0 of these remain clear whichever group of interventions is left out" in verdict(found)
    assert "hump (without group 0, group 1)" in verdict(found)
    assert "Within groups of interventions, every interval includes 0." in verdict(found)


def test_a_relation_in_every_group_stands_without_any_of_them() -> None:
    rng = np.random.default_rng(7)
    hump = np.repeat(rng.normal(size=20), 3)
    found = answers.shape_and_accuracy(
        made_up(20, 3, 4, test_hump=hump, test_accuracy=-hump + 0.1 * rng.normal(size=60))
    )
    assert "Each correlation remains clear whichever group of interventions is left out." in verdict(found)
    assert "Within groups of interventions, the correlation is clear for: hump" in verdict(found)
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
    assert "The formula of mean loss contains the loss at the end of the line" in verdict(found)


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0])
def test_the_headline_claims_what_the_plain_interval_of_the_primary_contrast_holds(slope: float) -> None:
    rng = np.random.default_rng(10)
    rise = np.repeat(rng.random(14), 3)
    accuracy = slope * rise + 0.2 * rng.normal(size=42)
    found = answers.shape_and_accuracy(made_up(14, test_hump=rise, test_area=rng.random(42), test_accuracy=accuracy))
    row, words = found.numbers.filter(pl.col("number") == "hump").row(0, named=True), sentences.of(found)
    assert (row["low_all"], row["high_all"]) == (row["low"], row["high"])
    assert (row["low"] > 0) == ("higher test accuracy" in words.headline)
    assert (row["high"] < 0) == ("lower test accuracy" in words.headline)
    assert (row["low"] <= 0 <= row["high"]) == ("Inconclusive" in words.headline) == (words.here == "inconclusive")


def test_distance_has_rank_correlations_and_the_auc() -> None:
    rng = np.random.default_rng(11)
    rise, far = rng.random(36), np.repeat(rng.random(12), 3)
    found = answers.distance_and_monotonicity(made_up(12, 3, 3, test_hump=rise, relative_distance=far), 0.95, 0.5)
    row = found.numbers.row(0, named=True)
    assert row["spearman"] == pytest.approx(stats.spearmanr(far, rise).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau(far, rise).statistic)
    assert f"ρ = {row['spearman']:.2f}".replace("-", "−") in verdict(found)
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
    statistics = treated().statistics.filter(
        (pl.col("label") == "treatments") & (pl.col("batchnorm") == "end") & (pl.col("number") == "hump")
    )
    means = dict(statistics.group_by("arm").agg(pl.col("value").mean()).iter_rows())
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
    assert f"of {found.numbers.height - 4} other cells can be compared with the primary cell" in verdict(found)
    assert f": {same} agree, " in verdict(found)


def test_without_lines_of_their_own_the_definitions_are_compared_on_whole_lines() -> None:
    found = answers.barrier_and_batchnorm(results(), {})
    assert found.numbers["batchnorm"].unique().to_list() == ["interpolate"]
    assert "from the whole lines" in sentences.of(found).method
    alone = dataclasses.replace(results(), runs=results().runs.filter(pl.col("arm") == "base"))
    assert verdict(answers.barrier_and_batchnorm(alone, {})) == (
        "There is too little data to say: no cell has an interval."
    )
    nothing = dataclasses.replace(results(), statistics=results().statistics.clear())
    assert verdict(answers.barrier_and_batchnorm(nothing, {})) == "No line is measured yet."


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
    assert verdict(found).startswith("Arm 1: the hump is lower, ")
    few = answers.start_and_barrier(kept.filter(pl.col("seed") < 4), {"arm 1": RESTARTED})
    assert "too few runs (3 pairs) for a 95 % interval" in verdict(few)


def test_three_against_three_runs_are_too_few_for_a_barrier() -> None:
    hump = [0.0, 0.01, 0.0, 1.0, 1.1, 1.2]
    found = answers.start_and_barrier(made_up(2, 3, test_hump=hump), {"arm 1": ADVERSARIAL})
    assert "too few runs (3 and 3) for a 95 % interval" in verdict(found)
    found = answers.interventions_and_shape(made_up(2, 3, test_hump=hump), {})
    assert "There is too little data to say which interventions change the shape" in sentences.of(found).headline
    assert "Too few runs for an interval of the shape: group 0 (1 arm)." in verdict(found)


@pytest.mark.parametrize("follows", [True, False])
def test_interventions_that_change_the_shape_and_whether_accuracy_follows(follows: bool) -> None:
    rng = np.random.default_rng(13)
    hump = np.repeat([0.1, 2.0, 0.1], 10) + 0.02 * rng.random(30)
    accuracy = 90 + 0.1 * rng.random(30) - (np.repeat([0.0, 3.0, 0.0], 10) if follows else 0)
    found = answers.interventions_and_shape(made_up(3, 10, 3, test_hump=hump, test_accuracy=accuracy), {})
    changed = found.numbers.fill_nan(None).filter(pl.col("low_all") > 0)
    assert changed.select("arm", "number").rows() == [("arm 1", "hump")]
    assert "Group 1: the shape changes in 1 of 1 arm with an interval: arm 1, hump +1.90" in verdict(found)
    assert sentences.of(found).headline.endswith(f"test accuracy changes too in {int(follows)} of these 1.")


def test_an_answer_is_given_with_the_sources_own() -> None:
    found = {answer.name: sentences.of(answer) for answer in answers.answers(results())}
    assert set(published.FINDINGS) <= set(found)
    said = found["shape-and-accuracy"].published
    assert said.startswith("Source: no, the shape of the linear path is not a reliable indicator")
    assert said.endswith(f"Here, with 3 seeds: {found['shape-and-accuracy'].here}.")
    assert found["barrier-and-batchnorm"].published == ""
    other = dataclasses.replace(results(), study=dataclasses.replace(results().study, name="another"))
    assert {sentences.of(answer).published for answer in answers.answers(other)} == {""}


def test_a_panel_without_information_is_left_out_and_named(tmp_path: Path) -> None:
    found = answers.shape_and_accuracy(results().runs)
    words = sentences.of(found)
    ends = {"hump": (-0.5, 0.6), "area": (-0.99, 1.0)}
    numbers = found.numbers.with_columns(
        pl.col("number").replace_strict({k: v[i] for k, v in ends.items()}, default=math.nan).alias(end)
        for i, end in enumerate(("low", "high"))
    )
    shown = answer_entry(dataclasses.replace(found, numbers=numbers), words, results().runs, Folder(tmp_path))
    assert shown["not_drawn"].startswith(
        "Not drawn, because the intervals are undefined or span nearly the whole range: "
    )
    assert "mean loss" in shown["not_drawn"]
    assert "hump" not in shown["not_drawn"]
    nothing = dataclasses.replace(found, numbers=numbers.with_columns(low=math.nan))
    shown = answer_entry(nothing, words, results().runs, Folder(tmp_path))
    assert shown["drawings"] == []
    assert "hump" in shown["not_drawn"]


def test_starts_that_did_not_learn_their_wrong_labels_are_called_so() -> None:
    runs = results().runs
    poisoned = runs.with_columns(start_learnt=pl.when(pl.col("arm") == "adversarial").then(False))
    special = {"adversarial": "trained on wrong labels"}
    assert "in 3 of 3 runs the wrong labels were not learnt" in verdict(answers.start_and_barrier(poisoned, special))
    learnt = poisoned.with_columns(start_learnt=~pl.col("start_learnt"))
    assert "not learnt" not in verdict(answers.start_and_barrier(learnt, special))
