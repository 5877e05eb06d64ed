"""What poisoned starts cost, from accuracies and lines that are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, answers
from linescape.analysis.tables import Results
from linescape.report import sentences
from linescape.studies.works.liu2020 import POISONED, WAYS
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("liu2020", "mini")
COST = {"vanilla": 20.0, "momentum": 1.0, "augmentation": 0.5, "weight-decay": 12.0, "all": 0.0}
BY_SEED = (0.0, 0.1, -0.1, 0.05)


def results(cost: dict[str, float] = COST, hump: float = 1.0) -> Results:
    """Accuracies that differ between seeds much more than the cost of a poisoned start does."""

    def line(arm: str, seed: int, _: str, __: np.ndarray) -> np.ndarray:
        high = hump + 0.1 * seed if arm.endswith(POISONED) else 0.1 * seed
        return np.array([2.0, 2.0 + high, 1.0])

    made = lines_of(STUDY, line, [0.0, 0.5, 1.0])
    runs = made.runs.to_dicts()
    for run in runs:
        way = run["arm"].removesuffix(POISONED)
        lost = cost.get(way, 0) + 5 * BY_SEED[run["seed"]] if run["arm"] != way else 0.0
        run |= {"test_accuracy": 80.0 - 3 * run["seed"] - lost, "start_error": 0.0 if run["arm"] != way else None}
    return replace(made, runs=pl.DataFrame(runs, infer_schema_length=None))


def both(made: Results) -> tuple[Answer, Answer]:
    first, second = answers(made)
    return first, second


def test_the_cost_is_that_within_seeds() -> None:
    lost, _ = both(results())
    expected = inference.mean([20 + 5 * more for more in BY_SEED])
    (vanilla,) = lost.numbers.filter(pl.col("way") == "vanilla").to_dicts()
    assert (vanilla["difference"], vanilla["low"], vanilla["high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert (vanilla["usual"], vanilla["runs"]) == (pytest.approx(24.5), 4)
    assert lost.outcomes == {"vanilla": Outcome.ABOVE}


def test_what_is_undone_has_an_interval_below_the_limit() -> None:
    lost, _ = both(results(COST | {"momentum": 1.9}))
    assert lost.facts["undone"] == ["augmentation", "all"]
    words = sentences.of(lost).verdict
    assert "with weight decay +12.1 points" in words
    assert "a loss that is not undone" in words
    assert words.count("by less than 2 points") == 2


def test_a_start_that_does_not_fit_its_labels_is_named() -> None:
    made = results()
    high = pl.when(pl.col("arm").str.ends_with(POISONED)).then(3.0)
    words = sentences.of(both(replace(made, runs=made.runs.with_columns(start_error=high)))[0]).verdict
    assert "3.00 %, so not all of these starts fit them" in words


def test_humps_of_both_starts() -> None:
    _, lines = both(results(hump=1.0))
    assert lines.outcomes == {"vanilla": Outcome.ABOVE}
    assert lines.numbers["difference"].to_list() == pytest.approx([1.0] * 5)
    assert lines.facts["lines"]["label"].unique().sort().to_list() == ["poisoned start", "usual start"]
    assert "is higher than from the usual one" in sentences.of(lines).headline
    assert both(results(hump=0.0))[1].outcomes != {"vanilla": Outcome.ABOVE}


def test_ways_of_which_one_start_is_missing_are_left_out() -> None:
    made = results()
    part = replace(made, runs=made.runs.filter(pl.col("arm") == "vanilla"), lines=made.lines.clear())
    for answer in both(part):
        assert answer.numbers.is_empty()
        assert answer.outcomes == {"vanilla": Outcome.NOT_MEASURED}
        assert sentences.of(answer).headline.startswith("No pair of arms")
    assert set(both(made)[0].numbers["way"]) == set(WAYS)


def test_a_loss_that_may_be_below_the_limit_is_not_called_undone_nor_not() -> None:
    lost, _ = both(results(COST | {"momentum": 40.0, "weight-decay": 3.0}))
    rows = {row["way"]: row for row in lost.numbers.to_dicts()}
    assert 0 < rows["weight-decay"]["low_all"] < 2 < rows["momentum"]["low_all"]
    words = sentences.of(lost).verdict.split("Test error from the poisoned start")[1]
    decay, momentum = (
        next(part for part in words.split(";") if f"with {way}" in part) for way in ("weight decay", "momentum")
    )
    assert "a loss, but whether of 2 points or more is inconclusive" in decay
    assert "a loss that is not undone" in momentum
