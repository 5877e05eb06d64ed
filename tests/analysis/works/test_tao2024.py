"""Monotone lines from other starts, from curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from linescape import studies
from linescape.analysis.answers import Outcome, answers
from linescape.report import sentences
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("tao2024", "mini")


def test_rises_from_zeros_are_compared_with_those_from_the_own_start() -> None:
    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        rise = {"base": 0.2, "vgg": 0.3, "mlp": 0.0}[arm] * (1 + 0.1 * seed)
        rise *= {"whole": {"base": 0.0, "vgg": 2.0, "mlp": 0.0}[arm], "from zeros": 1.0}.get(label, 0.0)
        return np.where(at == 0.5, 1.6 + rise, 2 - at)

    (answer,) = answers(lines_of(STUDY, shape))
    assert answer.outcomes == {"base": Outcome.ABOVE, "vgg": Outcome.BELOW, "mlp": Outcome.NO_INTERVAL}
    zeros = {row["arm"]: row for row in answer.facts["primary"]}
    assert [zeros[arm]["monotone"] for arm in ("base", "vgg", "mlp")] == [0, 0, 7]
    assert zeros["base"]["difference"] == pytest.approx(0.2 * 1.3)
    assert zeros["mlp"]["share_low"] == pytest.approx(100 * 0.025 ** (1 / 7)), "Clopper and Pearson's, of 7 in 7"
    words = sentences.of(answer)
    assert words.headline.startswith(
        "Monotone from zeros: ResNet 0 of 7, VGG 0 of 7, fully connected 7 of 7; from the own"
    )
    assert "higher rises than from the own start for ResNet" in words.published
    assert "lower rises than from the own start for VGG" in words.published


def test_nothing_measured() -> None:
    (answer,) = answers(lines_of(STUDY, lambda *_: None))
    assert sentences.of(answer).headline == "No line from zeros is measured yet."
