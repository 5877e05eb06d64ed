"""Barriers in factors beside those in merged weights, from curves that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.answers.answer import Answer, widened
from linescape.report import sentences
from linescape.studies.works.hu2021 import FACTORS, MERGED, OWN_MERGED, WHOLE
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("hu2021", "demo")
PAIRS = range(4)
APART = {"rank-4": 0.3, "rank-1": 0.4, "same-draw": 0.05}


def answer(factors: float, merged: float, same_draw: float = 0.0, spread: float = 0.01) -> Answer:
    """Of ends with 1 and 0.6 nats; in merged weights barriers are `merged`, in the factors `factors` and more."""

    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        if label in ("whole", OWN_MERGED):
            return np.where(at == 0.5, 1.5 + 0.3 * (label == "whole"), 1.0)
        height = merged if label == MERGED else same_draw if arm == "same-draw" else factors + spread * seed
        return np.where(at == 0.5, 0.8 + height, np.where(at == 0, 1.0, 0.6))

    made = lines_of(STUDY, shape, [0.0, 0.5, 1.0])
    walks = [
        {"arm": arm.name, "seed": run.seed, "label": label, "apart": APART.get(arm.name) if label == MERGED else None}
        for arm in STUDY.arms
        for run in arm.runs
        for label in run.lines
    ]
    (found,) = answers(replace(made, walks=pl.DataFrame(walks, infer_schema_length=None)))
    return found


def test_differences_are_pair_by_pair_and_corrected_but_for_the_primary() -> None:
    made = answer(factors=0.5, merged=0.2, same_draw=0.2)
    rows = {row["arm"]: row for row in made.numbers.to_dicts()}
    plain = inference.mean([0.3 + 0.02 * pair for pair in PAIRS])
    wide = inference.mean([0.3 + 0.02 * pair for pair in PAIRS], widened(0.95, 3))
    primary, other = rows["rank-4"], rows["rank-1"]
    found = primary["difference"], primary["low"], primary["high"]
    assert found == pytest.approx((plain.value, plain.low, plain.high))
    assert (primary["low_all"], primary["high_all"]) == (primary["low"], primary["high"])
    assert (other["low_all"], other["high_all"]) == pytest.approx((wide.low, wide.high))
    assert (primary["pairs"], primary["merged"], primary["merged_error"]) == (4, *map(pytest.approx, (0.2, 0.02)))
    assert (primary["factors"], primary["ends"]) == pytest.approx((0.53, 0.08))
    assert primary["own"] == pytest.approx(0.1)
    assert {arm: rows[arm]["apart"] for arm in APART} == pytest.approx(APART)
    assert rows[WHOLE]["factors"] == pytest.approx(0.53)
    assert rows[WHOLE]["merged"] is None
    less = made.facts["draw"]
    assert (less["pairs"], less["less"], less["low_all"]) == (4, *map(pytest.approx, (wide.value, wide.low)))
    assert made.outcomes == {
        **{"rank-4": Outcome.ABOVE, "rank-1": Outcome.ABOVE, "same-draw": Outcome.NO_INTERVAL},
        "less": Outcome.ABOVE,
    }


def test_words_follow_from_the_intervals() -> None:
    words = sentences.of(answer(factors=0.5, merged=0.2, same_draw=0.2))
    assert words.headline == "Yes: LoRA of rank 4, 0.53 nats instead of 0.20."
    assert "apart by 0.30 of the length" in words.verdict
    draws = "With one draw of A and of the head for both, the two lines differ less than with two, by +0.33 nats"
    assert draws in words.verdict
    assert "All weights: 0.53 nats of test loss" in words.verdict
    assert words.published.startswith("Source: no claim about lines")
    assert sentences.of(answer(0.3, 0.9)).headline.startswith("No, it is lower: LoRA of rank 4, 0.33 nats")
    unclear = sentences.of(answer(0.2, 0.2, 0.2, spread=0.0))
    assert unclear.headline.startswith("Inconclusive:")
    assert "differ less with one draw of A and of the head for both is inconclusive" in unclear.verdict


def test_what_is_not_measured_is_not_compared() -> None:
    (nothing,) = answers(lines_of(STUDY, lambda *_: None))
    assert sentences.of(nothing).headline == "No pair of networks with LoRA of rank 4 is measured yet."
    one_line = lines_of(STUDY, lambda arm, seed, label, at: 1 + at if label == FACTORS else None)
    (made,) = answers(one_line)
    assert made.outcomes == {}
    assert not made.facts["rows"]
    assert "All weights" in sentences.of(made).verdict
