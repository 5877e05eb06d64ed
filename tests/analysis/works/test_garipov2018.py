"""Barriers of lines and curves, from curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, Verdict, answers
from linescape.analysis.answers.answer import Answer
from linescape.report import sentences
from linescape.studies.works.garipov2018 import BEZIER, CHAIN, LINE
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("garipov2018", "mini")


def answer(line: float, bezier: float, chain: float, spread: float = 0.01) -> Answer:
    """Of ends with 1 and 0.6 nats, and so much above their mean in the middle; lines differ between pairs."""
    heights = {LINE: line, BEZIER: bezier, CHAIN: chain}

    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        more = heights.get(label, 0.0) + (spread * seed if label == LINE else 0.0)
        return np.where(at == 0.5, 0.8 + more, np.where(at == 0, 1.0, 0.6))

    (made,) = answers(lines_of(STUDY, shape))
    return made


def test_differences_of_barriers_are_pair_by_pair() -> None:
    made = answer(line=1.0, bezier=0.3, chain=0.5)
    bezier, chain = made.numbers.to_dicts()
    expected = inference.mean([0.7 + 0.01 * seed for seed in (0, 2, 4, 6, 8)])
    assert (bezier["difference"], bezier["low"], bezier["high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert (bezier["low_all"], chain["low_all"]) == (bezier["low"], chain["low"]), "one of both is corrected, for 1"
    assert (bezier["kind"], bezier["pairs"], bezier["lower"], bezier["curve"]) == (BEZIER, 5, 5, pytest.approx(0.3))
    assert bezier["curve_error"] == pytest.approx(0.03)
    assert chain["kind"] == CHAIN
    assert list(made.outcomes.values()) == [Outcome.ABOVE, Outcome.ABOVE]
    assert made.claims[0].verdict is Verdict.HOLDS
    assert sentences.of(made).headline.startswith("Yes: the barrier of the Bezier curve is 0.30 nats instead of 1.04")
    assert "Bezier curve lower in 5 of 5 pairs" in sentences.of(made).published


def test_the_bezier_curve_decides() -> None:
    made = answer(line=0.3, bezier=0.9, chain=0.25)
    assert made.claims[0].verdict is Verdict.FAILS
    assert sentences.of(made).headline == (
        "Yes for the chain of two pieces; the barrier of the Bezier curve is higher than that of the line."
    )
    higher = answer(line=0.3, bezier=0.9, chain=0.9)
    assert sentences.of(higher).headline.startswith("No:")
    unclear = answer(line=0.3, bezier=0.3, chain=0.3, spread=0.001)
    assert unclear.numbers["lower"].to_list() == [4, 4]
    assert answer(0.3, 0.32, 0.32).claims[0].verdict is Verdict.INCONCLUSIVE


def test_nothing_measured() -> None:
    (made,) = answers(lines_of(STUDY, lambda *_: None))
    assert sentences.of(made).headline == "No pair of networks is measured yet."
    assert made.claims[0].verdict is Verdict.NOT_MEASURED


def test_a_barrier_that_is_nan_is_not_lower() -> None:
    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        return np.where(at == 0.5, np.nan if seed == 2 and label == LINE else 1.0 + (label == LINE), 0.5)

    (made,) = answers(lines_of(STUDY, shape))
    assert made.numbers["lower"].to_list() == [4, 4]
    assert made.numbers["pairs"].to_list() == [5, 5]
