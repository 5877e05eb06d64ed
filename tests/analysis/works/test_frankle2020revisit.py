"""How late the loss falls, and barriers during training, from curves that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from linescape import studies
from linescape.analysis.answers import Outcome, answers
from linescape.analysis.works.frankle2020revisit import halfway
from linescape.report import sentences
from tests.support.lines_of_studies import lines_of

STUDY = studies.find("frankle2020revisit", "mini").only(runs=3)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2, 1, 0], 0.5),
        ([2, 2, 0], 0.75),
        ([2, 0, 0], 0.25),
        ([2, 0.5, 1.5, 0], 5 / 6 - 1 / 18),  # for good: it was below the middle before
        ([2, 5, math.inf, 0], 1.0),
        ([1, 2, 3], math.nan),
        ([2, math.nan, 0], math.nan),
        ([math.inf, 1, 0], math.nan),
    ],
)
def test_halfway(losses: list[float], expected: float) -> None:
    assert halfway(np.linspace(0, 1, len(losses)), losses) == pytest.approx(expected, nan_ok=True)


def test_late_falls_and_barriers_are_told_apart() -> None:
    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        power = {"base": 12, "vgg": 8, "mlp": 0.6}[arm] * (1 + 0.01 * seed)
        fall = 2 - 2 * at**power
        hump = {"base": 1.0, "vgg": 0.0, "mlp": 0.01}[arm] * (1 + 0.1 * seed)
        return fall if label == "whole" else np.where(at == 0.5, 2 + hump, 2 - at)

    late, barriers = answers(lines_of(STUDY, shape))
    assert late.outcomes == {"base": Outcome.ABOVE, "vgg": Outcome.ABOVE, "mlp": Outcome.BELOW}
    words = sentences.of(late)
    assert "late for ResNet, VGG" in words.published
    assert "early for fully connected" in words.published
    assert barriers.outcomes == {"base": Outcome.ABOVE, "vgg": Outcome.NO_INTERVAL, "mlp": Outcome.BELOW}
    primary = {row["arm"]: row for row in barriers.facts["primary"]}
    assert [primary[arm]["start"] for arm in ("base", "mlp")] == ["epoch 3", "epoch 5"], "the middle of 6 and 10 epochs"
    assert primary["base"]["barrier"] == pytest.approx(1.1)
    assert (primary["base"]["cases"], primary["base"]["runs"]) == (3, 3)
    words = sentences.of(barriers)
    assert words.headline == "Yes, from the middle of training: ResNet."
    assert "built-in" not in words.verdict


def test_two_runs_have_no_interval_of_barriers_and_none_no_words() -> None:
    two = lines_of(STUDY.only(runs=2), lambda arm, seed, label, at: np.where(at == 0.5, 3.0 + seed, 2 - at))
    assert set(answers(two)[1].outcomes.values()) == {Outcome.NO_INTERVAL}
    assert sentences.of(answers(two)[1]).headline.startswith("Inconclusive")
    nothing = lines_of(STUDY, lambda *_: None)
    assert [sentences.of(answer).headline for answer in answers(nothing)] == ["No line is measured yet."] * 2


def test_without_a_line_from_the_middle_there_is_no_answer() -> None:
    """Lines from the start alone: no barrier from the middle is below anything."""
    whole = lines_of(STUDY, lambda arm, seed, label, at: 2 - at**2 if label == "whole" else None)
    answer = answers(whole)[1]
    assert answer.numbers.height == 3
    words = sentences.of(answer)
    assert words.headline == words.verdict == "No line from the middle of training is measured yet."
    assert words.here == "not measured"


def test_a_barrier_that_is_nan_counts_for_nothing() -> None:
    def shape(arm: str, seed: int, label: str, at: np.ndarray) -> np.ndarray:
        lost = label == "from epoch 1" or (label == "from epoch 3" and seed == 0)
        return np.where(at == 0.5, math.nan if lost else 2.5 if label == "from epoch 2" else 2.0, 2 - at)

    answer = answers(lines_of(STUDY, shape))[1]
    primary, highest = (
        next(row for row in answer.facts[name] if row["arm"] == "base") for name in ("primary", "highest")
    )
    assert (primary["cases"], primary["runs"]) == (0, 3)
    assert math.isnan(primary["barrier"])
    assert (highest["start"], highest["barrier"]) == ("epoch 2", pytest.approx(0.5))
