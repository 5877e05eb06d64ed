"""The number of dimensions that is enough, from accuracies that are known."""

from __future__ import annotations

import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Outcome, Verdict, answers
from linescape.analysis.answers.answer import Answer
from linescape.recipe import Subspace
from linescape.report import sentences
from linescape.studies.study import Run, Scan
from linescape.studies.works.li2018 import IMAGES, LABELS
from tests.support.works import results

STUDY = studies.find("li2018", "mini")


def answer(images: dict[int, float], labels: dict[int, float], spread: float = 0.1) -> Answer:
    """Of accuracies by dimension, 0 for all weights, which differ a little between seeds."""

    def value(arm: str, run: Run, _: Scan, alpha: float) -> tuple[float, float] | None:
        trains = run.recipe.trains
        dimension = trains.dimension if isinstance(trains, Subspace) else 0
        accuracy = (images if arm.startswith(IMAGES) else labels).get(dimension)
        if accuracy is None:
            return None
        noise = spread * (run.seed - 1) * (dimension > 0)
        return (90.0 + alpha * (10.0 - accuracy - noise), 1.0)

    (made,) = answers(results(STUDY, value))
    return made


ON_IMAGES = {0: 80.0, 50: 60.0, 100: 70.0, 200: 72.05, 500: 76.0, 1500: 80.0}


def test_limits_and_the_smallest_that_is_enough() -> None:
    made = answer(ON_IMAGES, {0: 100.0, 250: 30.0, 1000: 60.0, 4000: 80.0})
    on_images, on_labels = made.facts["tasks"]
    assert on_images["weights"] == 199_210
    assert (on_images["needed"], on_images["low"], on_images["high"], on_images["full"]) == (200, 100, 500, 1500)
    assert on_images["global"] is None
    assert (on_labels["needed"], on_labels["low"], on_labels["high"]) == (None, 4000, None)
    row = made.numbers.filter(task=IMAGES, dimension=500).to_dicts()[0]
    expected = inference.mean([3.9, 4.0, 4.1])
    assert (row["margin"], row["margin_low"], row["margin_high"]) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert row["share"] == pytest.approx(95.0)
    assert made.outcomes["images-200"] is Outcome.INCONCLUSIVE
    assert made.claims[0].verdict is Verdict.HOLDS
    assert made.claims[0].high == pytest.approx(100 * 500 / 199_210)
    words = sentences.of(made)
    assert words.headline == (
        "Of those tried: images 200 of 199,210, between 100 and 500 by the intervals; random labels more than 4,000 of"
        " 199,210, also by the interval."
    )
    assert "100 are too few and 500 are enough by the 95 % intervals" in words.verdict


def test_the_order_of_tests_stops_at_the_first_that_fails() -> None:
    """What is decided beyond one that is not says nothing of the limits."""
    made = answer(ON_IMAGES | {50: 72.05, 1500: 72.05}, {})
    (on_images,) = made.facts["tasks"]
    assert (on_images["low"], on_images["high"], on_images["needed"]) == (0, None, 50)
    assert made.claims[0].verdict is Verdict.INCONCLUSIVE
    assert "No limit is decided" in sentences.of(made).verdict


def test_without_a_baseline_nothing_is_said() -> None:
    made = answer({50: 60.0}, {})
    assert made.numbers.is_empty()
    assert sentences.of(made).headline == "No training is measured yet."
    assert made.claims[0].verdict is Verdict.NOT_MEASURED
    assert {arm.group for arm in STUDY.arms} == {IMAGES, LABELS}


def test_a_dimension_without_a_seed_in_common_with_the_baseline_is_left_out() -> None:
    def value(arm: str, run: Run, _: Scan, alpha: float) -> tuple[float, float] | None:
        return None if (run.seed == 0) == arm.endswith("all") else (90.0 - 60 * alpha, 1.0)

    (made,) = answers(results(STUDY, value))
    assert made.numbers.is_empty()
    assert made.claims[0].verdict is Verdict.NOT_MEASURED
