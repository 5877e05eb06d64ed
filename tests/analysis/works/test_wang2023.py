"""Plateaus from curves whose plateaus are known; classes and biases by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from linescape import studies
from linescape.analysis.answers import Outcome, Verdict, answers
from linescape.analysis.tables import Results
from linescape.analysis.works import last_biases
from linescape.interpolation.by_class import ClassErrors
from linescape.report import sentences
from linescape.studies.study import Classes
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("wang2023", "mini").only(runs=6)
LENGTHS = {"base": 0.5, "shallow": 0.3, "deep": 0.5, "small-start": 0.4, "no-last-bias": 0.2, "no-bias": 0.1}


def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
    """Errors, a tenth of these, of 90 % up to some alpha and less beyond."""
    length = LENGTHS[arm] + 0.01 * seed
    if label == "homogeneous":
        length = 0.5 * LENGTHS[arm] + 0.01 * seed + 0.002 * (-1) ** seed
    return np.where(at <= length, 900.0, 100.0)


def test_plateaus_are_compared_with_what_the_source_says() -> None:
    answer, *_ = answers(lines_of(STUDY, shape, np.linspace(0, 1, 1001)))
    rows = {(row["arm"], row["line"]): row for row in answer.facts["rows"]}
    assert rows["base", "straight"]["plateau"] == pytest.approx(0.525, abs=0.002)
    assert rows["shallow", "straight"]["difference"] == pytest.approx(-0.2, abs=0.002)
    assert rows["base", "homogeneous"]["difference"] == pytest.approx(-0.25, abs=0.002)
    assert rows["base", "straight"]["error"] == pytest.approx(10)
    assert answer.outcomes == {
        "base, homogeneous": Outcome.BELOW,
        "shallow, straight": Outcome.BELOW,
        "deep, straight": Outcome.INCONCLUSIVE,
        "small-start, straight": Outcome.BELOW,
        "no-last-bias, straight": Outcome.BELOW,
    }
    assert [row["arm"] for row in answer.facts["contrary"]] == ["small-start"]
    words = sentences.of(answer)
    assert words.headline == (
        "3 of 5 statements of the source hold here, and the contrary of 1; the rest is inconclusive."
    )


def test_nothing_measured() -> None:
    answer, gap, last = answers(lines_of(STUDY, lambda *_: None))
    assert sentences.of(answer).headline == "No line is measured yet."
    for other in (gap, last):
        assert sentences.of(other).headline == "No last biases are measured yet."
    assert gap.claims[0].verdict is Verdict.NOT_MEASURED


def of_class(biases: list[float]) -> ClassErrors:
    """Chance is 75 %. All are taken for 2 at first; 0 is learnt, then 3, then 1, half of which stay wrong."""
    errors = [[100, 100, 0, 100], [100, 100, 0, 100], [0, 100, 0, 100], [0, 100, 20, 0], [0, 50, 20, 0]]
    return ClassErrors(np.linspace(0, 1, 5), np.array(errors, float), np.full(4, 5), np.array(biases))


def test_where_each_class_leaves_chance() -> None:
    """By hand: the errors cross 71.25 %, between positions as if straight."""
    expected = [0.25 + 0.25 * 0.2875, 0.75 + 0.25 * 0.575, -math.inf, 0.5 + 0.25 * 0.2875]
    found = of_class([0.0, 0, 0, 0])
    np.testing.assert_allclose(last_biases.leaves_chance(found), expected)
    found.errors[4, 3] = 90
    assert last_biases.leaves_chance(found)[3] == math.inf
    found.errors[1, 0] = math.nan
    assert math.isnan(last_biases.leaves_chance(found)[0])


def biased() -> Results:
    """The gap grows with the seed, as plateaus do; 1 has the largest bias in half the runs, 2 in the others."""
    made = lines_of(STUDY, shape, np.linspace(0, 1, 1001))
    measured = {
        (arm.name, run.seed, "whole"): of_class([0, 1 + run.seed, 0.5 if run.seed % 2 else 9, -1])
        for arm in STUDY.arms
        for run in arm.runs
        if run.measured
    }
    return replace(made, measured={Classes: measured})


def test_gaps_of_biases_and_the_class_learnt_last() -> None:
    _, gap, last = answers(biased())
    rows = gap.numbers.filter(arm="base")
    assert rows["gap"].to_list() == pytest.approx([10, 3, 10, 5, 10, 7])
    assert rows["deviation"][1] == pytest.approx(np.std([0, 2, 0.5, -1]))
    assert rows["plateau"].to_list() == pytest.approx([0.5 + 0.01 * seed for seed in range(6)], abs=0.01)
    assert set(gap.numbers["arm"]) == {"base", "shallow", "deep", "small-start"}, "others have no last bias"
    within = gap.facts["correlations"][0]
    by_hand = stats.spearmanr([10, 3, 10, 5, 10, 7], range(6)).statistic
    assert within["rho"] == pytest.approx(by_hand), "all arms have the same order"
    together = {row["which"]: row for row in last.facts["together"]}
    assert {name: (row["known"], row["same"]) for name, row in together.items()} == {
        "last": (24, 12),
        "worst": (24, 12),
        "taken": (24, 12),
    }
    exact = stats.binomtest(12, 24).proportion_ci(1 - 0.05 / 3, method="exact")
    assert (together["last"]["low_all"], together["last"]["high_all"]) == pytest.approx(
        (100 * exact.low, 100 * exact.high)
    )
    assert together["last"]["chance"] == 25
    assert last.outcomes == {"last": Outcome.ABOVE, "worst": Outcome.ABOVE, "taken": Outcome.ABOVE}
    assert "in 12 of 24 runs (25 to 75 %), more often than by chance (25 %)" in sentences.of(last).headline
    assert together["last"]["rank"] == pytest.approx(1.5)


def test_classes_that_are_level_are_not_told_apart() -> None:
    results = biased()
    measured = dict(results.of(Classes))
    for found in measured.values():
        found.errors[:, 3] = found.errors[:, 1]
    last = answers(replace(results, measured={Classes: measured}))[2]
    assert [row["known"] for row in last.facts["together"]] == [0, 0, 24]
    assert list(last.outcomes) == ["taken"]
    assert "0 runs, which tells nothing" in sentences.of(last).headline


def test_without_the_base_nothing_is_compared() -> None:
    alone = lines_of(STUDY, lambda arm, *rest: None if arm == "base" else shape(arm, *rest), np.linspace(0, 1, 101))
    answer, *_ = answers(alone)
    assert answer.outcomes == {}
    assert {claim.verdict for claim in answer.claims} == {Verdict.NOT_MEASURED}
    words = sentences.of(answer)
    assert words.headline.startswith("No line is measured yet together with")
    assert words.here == "not measured"
