"""Barriers of pairs, from curves on which they are known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.answers.answer import widened
from linescape.report import sentences
from linescape.studies.study import Run, Scan
from linescape.studies.works.neyshabur2020 import BETWEEN
from tests.support import works

STUDY = studies.find("neyshabur2020", "mini")
HEIGHTS = {
    "random-random": 50.0,
    "random-finetuned": 40.0,
    "finetuned-epoch-0": 45.0,
    "finetuned-epoch-1": 20.0,
    "finetuned-same-rate": 10.0,
}


def height(arm: str, run: Run) -> float:
    """A barrier that varies a little; fine-tuned pairs have half a point."""
    return HEIGHTS.get(arm, 0.5) + 0.1 * (run.seed % 4 - 1.5)


def measured(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
    """Errors of 10 % at one end and 20 % at the other, and between them a triangle over their line."""
    if scan != run.lines.get(BETWEEN):
        return None
    hill = height(arm, run) * (1 - abs(2 * alpha - 1)) / (1 - abs(2 * 24 / 49 - 1))
    return (10.0 + 10.0 * alpha + hill, 1.0 + hill / 100)


def accuracy(arm: str, run: Run) -> float:
    """From scratch 80 %; fine-tuned 5 points more, and 1 where blocks are shuffled."""
    gain = 0.0 if "finetuned" not in arm or arm == "random-finetuned" else 1.0 if "shuffled" in arm else 5.0
    return 80.0 + gain + 0.2 * (run.seed % 4)


def test_a_barrier_is_above_the_line_between_both_ends() -> None:
    barriers, *_ = answers(works.results(STUDY, measured, accuracy=accuracy))
    rows = {row["arm"]: row for row in barriers.numbers.to_dicts()}
    values = [50.0 + 0.1 * (pair - 1.5) for pair in range(4)]
    plain, wide = inference.mean(values), inference.mean(values, widened(0.95, 4))
    row = rows["random-random"]
    assert (row["barrier"], row["low"], row["low_all"]) == pytest.approx((plain.value, plain.low, wide.low))
    assert row["loss"] == pytest.approx(0.5)
    assert rows["finetuned-epoch-2"]["low_all"] == rows["finetuned-epoch-2"]["low"], "tested in a fixed order"
    assert rows["finetuned-finetuned"]["low_all"] >= 0.0


def test_the_primary_contrast_is_a_permutation_test() -> None:
    barriers, *_ = answers(works.results(STUDY, measured, accuracy=accuracy))
    tuned, random = ([base + 0.1 * (pair - 1.5) for pair in range(4)] for base in (0.5, 50.0))
    expected = inference.permutation_difference(tuned, random)
    primary = barriers.facts["primary"]
    assert (primary["difference"], primary["low"]) == pytest.approx((expected.value, expected.low))
    assert barriers.outcomes == {"finetuned minus random": Outcome.BELOW}
    assert [row["epoch"] for row in barriers.facts["free"]] == [2, 4]
    words = sentences.of(barriers)
    assert words.headline.endswith("fine-tuned pairs have the lower barrier.")
    assert "Of these, none from epoch 2 on has a barrier." in words.verdict
    assert "both from scratch 50.00" in words.verdict


def test_what_pre_training_is_worth_by_size_of_blocks() -> None:
    *_, worth = answers(works.results(STUDY, measured, accuracy=accuracy))
    rows = worth.numbers.to_dicts()
    assert [row["step"] for row in rows] == [1, 2, 7, 0]
    assert [row["difference"] for row in rows] == pytest.approx([1.0, 1.0, 1.0, 5.0])
    expected = inference.difference(
        [81.0 + 0.2 * pair for pair in range(4)], [80.0 + 0.2 * pair for pair in range(4)], widened(0.95, 4)
    )
    assert (rows[0]["low_all"], rows[0]["high_all"]) == pytest.approx((expected.low, expected.high))
    assert worth.outcomes["0"] is Outcome.ABOVE
    assert "images as they are +5.0" in sentences.of(worth).headline


def test_two_pairs_of_each_kind_give_no_interval_of_their_difference() -> None:
    few = STUDY.only(runs=2)
    barriers, *_ = answers(works.results(few, measured, accuracy=accuracy))
    assert barriers.outcomes == {"finetuned minus random": Outcome.NO_INTERVAL}
    assert math.isnan(barriers.facts["primary"]["low"])
    assert "inconclusive" in sentences.of(barriers).headline


def test_nothing_measured_gives_no_words() -> None:
    barriers, *_, worth = answers(works.results(STUDY, lambda *_: None))
    assert sentences.of(barriers).headline == "No pair of networks is measured yet."
    assert sentences.of(worth).headline == "No accuracy is measured yet."


def test_checkpoints_before_one_that_is_not_measured_are_not_decided() -> None:
    def part(arm: str, *rest: Any) -> tuple[float, float] | None:
        return None if arm in ("finetuned-epoch-4", "random-random") else measured(arm, *rest)

    barriers, *_ = answers(works.results(STUDY, part))
    assert barriers.facts["free"] == []
    words = sentences.of(barriers)
    assert words.here == "not measured"
    assert words.headline.endswith("fine-tuned pairs and pairs from scratch are not both measured yet.")
