"""Plateaus from curves whose plateaus are known."""

from __future__ import annotations

import numpy as np
import pytest

from linescape import studies
from linescape.analysis.answers import Outcome, Verdict, answers
from linescape.report import sentences
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
    (answer,) = answers(lines_of(STUDY, shape, np.linspace(0, 1, 1001)))
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
    (answer,) = answers(lines_of(STUDY, lambda *_: None))
    assert sentences.of(answer).headline == "No line is measured yet."


def test_without_the_base_nothing_is_compared() -> None:
    alone = lines_of(STUDY, lambda arm, *rest: None if arm == "base" else shape(arm, *rest), np.linspace(0, 1, 101))
    (answer,) = answers(alone)
    assert answer.outcomes == {}
    assert {claim.verdict for claim in answer.claims} == {Verdict.NOT_MEASURED}
    words = sentences.of(answer)
    assert words.headline.startswith("No line is measured yet together with")
    assert words.here == "not measured"
