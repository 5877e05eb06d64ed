"""The claims of the study that is repeated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from linescape.analysis import answers, tables
from linescape.analysis.answers import Verdict, claims
from linescape.studies.store import Store
from linescape.studies.vlaar2022 import published
from tests.support.fake_study import results, study


def row(low: float, high: float, value: str) -> dict[str, float]:
    return {"runs": 9, value: (low + high) / 2, "low_all": low, "high_all": high}


@pytest.mark.parametrize(
    ("low", "high", "value", "verdict"),
    [
        (-0.3, 0.2, "spearman", Verdict.HOLDS),
        (0.1, 0.6, "spearman", Verdict.HOLDS),  # there is a correlation, but none that tells much
        (-0.8, -0.7, "spearman", Verdict.FAILS),
        (0.6, 0.8, "spearman", Verdict.INCONCLUSIVE),
        (-0.9, 0.9, "spearman", Verdict.INCONCLUSIVE),  # few runs show nothing
        (math.nan, math.nan, "spearman", Verdict.INCONCLUSIVE),
        (0.4, 0.75, "auc", Verdict.HOLDS),
        (0.85, 1.0, "auc", Verdict.FAILS),
        (0.0, 0.15, "auc", Verdict.FAILS),  # the other way round tells as much
        (0.5, 0.9, "auc", Verdict.INCONCLUSIVE),
    ],
)
def test_what_tells_nothing_lies_nearer_to_no_effect_than_a_reliable_indicator(
    low: float, high: float, value: str, verdict: Verdict
) -> None:
    claim = claims._no_indicator("It tells nothing.", "something", row(low, high, value), value)
    assert claim.verdict is verdict
    assert claim.claim == "It tells nothing."


def test_each_claim_has_the_numbers_of_its_questions_primary_contrast() -> None:
    made = study()
    asked = answers.answers(results())
    found = {claim.claim: claim for claim in claims.of_source(made, asked)}
    primary: dict[str, Any] = {answer.name: answer.facts.get("primary") for answer in asked}
    shape = found["The shape of the line is no reliable indicator of test accuracy."]
    assert (shape.value, shape.low) == (
        primary["shape-and-accuracy"]["spearman"],
        primary["shape-and-accuracy"]["low_all"],
    )
    humps = found["Without weight decay lines have humps."]
    assert humps.value == primary["interventions-and-shape"]["difference"]
    layers = found["Layer-wise lines have humps where the whole line has none."]
    assert layers.value == primary["layers-and-line"]["mean"]
    (starts,) = (answer for answer in asked if answer.name == "start-and-barrier")
    adversarial = found["Starts trained on wrong labels raise barriers."]
    assert adversarial.value in {one["primary"]["difference"] for one in starts.facts["arms"]}
    assert all(claim.verdict is not Verdict.NOT_MEASURED for claim in found.values())


def test_what_was_not_run_is_not_measured(tmp_path: Path) -> None:
    made = study()
    found = claims.of_source(made, answers.answers(tables.read(made, Store(tmp_path))))
    assert {claim.verdict for claim in found} == {Verdict.NOT_MEASURED}
    assert published.of_source(made)
