"""Losses that are infinite give infinity or NaN, as they are meant to, and no warning of numpy's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linescape import studies
from linescape.analysis.answers import answers
from linescape.analysis.works.goodfellow2015 import rise_beyond
from linescape.report import sentences
from tests.support.lines_of_studies import lines_of
from tests.support.works import results

ALPHAS = [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("name", ["goodfellow2015", "lucas2021", "tao2024"])
def test_lines_with_an_infinite_loss_have_answers_in_words(name: str) -> None:
    """In the middle of half of the lines, so that of some pairs both sides are infinite."""

    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        lost = (seed + len(label)) % 2
        return np.where((at == 0.5) & bool(lost), np.inf, np.maximum(0.3, 2 - 1.7 * at))

    made = lines_of(studies.find(name, "demo"), shape, ALPHAS if name == "goodfellow2015" else ALPHAS[:3])
    for answer in answers(made)[:1]:
        assert sentences.of(answer).headline
        assert answer.numbers.height


def test_what_modules_cost_from_an_infinite_loss_to_an_infinite_one_is_unknown() -> None:
    study = studies.find("chatterji2020", "demo").only("base")
    made = results(study, lambda arm, run, scan, alpha: (90.0, math.inf if run.seed or not alpha else 1.0))
    (row, *_) = answers(made)[0].facts["rows"]
    assert math.isnan(row["lost"])
    assert math.isnan(row["lost_low"])


@pytest.mark.parametrize(
    ("losses", "rise"),
    [((2, 1, 0.5, 0.75), 0.25), ((2, 1, 0.5, math.inf), math.inf), ((2, 1, math.inf, math.inf), None)],
)
def test_the_rise_beyond_the_end(losses: tuple[float, ...], rise: float | None) -> None:
    found = rise_beyond(ALPHAS, losses)
    assert math.isnan(found) if rise is None else found == rise
