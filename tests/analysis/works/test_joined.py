"""What the middle between two networks loses, from errors that are known."""

from __future__ import annotations

import pytest

from linescape import studies
from linescape.analysis import inference
from linescape.analysis.answers import Answer, Outcome, Verdict, answers
from linescape.analysis.answers.answer import widened
from linescape.report import sentences
from linescape.studies.paths import Aligned
from linescape.studies.study import Run, Scan
from tests.support import works

STUDY = studies.find("ainsworth2022", "mini")
LOST = {"straight": 60.0, "aligned by weights": 20.0, "aligned by activations": 59.9}


def measured(_: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
    """Ends of 10 and 14 % error; the middle loses `LOST`, a little more or less for each pair."""
    label = next(label for label, line in run.lines.items() if line == scan)
    if label == "whole":
        return None
    spread = 0.5 * (run.seed // 2 - 2)
    if alpha == 0.5:
        return (12.0 + LOST[label] + spread * (1 if label == "straight" else -1), 1.3)
    return ({0.0: 10.0, 1.0: 14.0}.get(alpha, 99.0), {0.0: 0.2, 1.0: 0.4}.get(alpha, 9.0))


def answered() -> Answer:
    (answer,) = answers(works.results(STUDY, measured))
    return answer


def test_lost_is_above_the_mean_of_both_ends_and_gains_are_paired() -> None:
    rows = {row["way"]: row for row in answered().numbers.to_dicts() if row["arm"] == "mlp"}
    spreads = [0.5 * (pair - 2) for pair in range(5)]
    plain = inference.mean([60.0 + spread for spread in spreads])
    assert (rows["as they are"]["lost"], rows["as they are"]["low"]) == pytest.approx((plain.value, plain.low))
    assert rows["as they are"]["loss"] == pytest.approx(1.0)
    assert (rows["as they are"]["against"], rows["as they are"]["runs"]) == ("", 5)
    gains = [40.0 + 2 * spread for spread in spreads]
    by_weights, wide = inference.mean(gains), inference.mean(gains, widened(0.95, 3 * 2))
    row = rows["aligned by weights"]
    assert (row["gained"], row["gained_low"]) == pytest.approx((by_weights.value, by_weights.low))
    assert (row["gained_low_all"], row["gained_high_all"]) == pytest.approx((wide.low, wide.high))


def test_outcomes_claims_and_words_follow_from_the_corrected_intervals() -> None:
    answer = answered()
    assert answer.outcomes == {
        f"{arm}, {way}": outcome
        for arm in ("mlp", "narrow", "layer-norm")
        for way, outcome in (
            ("aligned by weights", Outcome.ABOVE),
            ("aligned by activations", Outcome.INCONCLUSIVE),
        )
    }
    assert [claim.verdict for claim in answer.claims] == [Verdict.HOLDS, Verdict.INCONCLUSIVE]
    words = sentences.of(answer)
    assert (
        "3 layers of 512 units: as they are 60.0, aligned by weights 20.0, aligned by activations 59.9 (inconclusive)"
        " points lost." in words.headline
    )
    assert "Aligned by weights loses less than as they are, by 40.0" in words.verdict
    assert "Aligned by activations against as they are is inconclusive" in words.verdict


def test_corrected_is_the_second_treatment_or_the_rescaled_line() -> None:
    study = studies.find("jordan2022", "mini")

    def value(_: str, __: Run, scan: Scan, alpha: float) -> tuple[float, float]:
        repaired = isinstance(scan.along, Aligned) and scan.along.repaired
        return (10.0 + (5.0 if repaired else 30.0) * (alpha == 0.5), 0.1)

    (answer,) = answers(works.results(study, value))
    lost = {(row["arm"], row["way"]): row["lost"] for row in answer.numbers.to_dicts()}
    assert lost["narrow", "aligned"] == pytest.approx(30.0)
    assert lost["narrow", "aligned and corrected"] == pytest.approx(5.0)
    assert ("vgg", "aligned and corrected") not in lost, "these results have one treatment"


def test_nothing_measured_gives_no_words() -> None:
    (answer,) = answers(works.results(STUDY, lambda *_: None))
    assert answer.outcomes == {}
    assert sentences.of(answer).headline == "No pair of networks is measured yet."
    assert {claim.verdict for claim in answer.claims} == {Verdict.NOT_MEASURED}


def test_a_way_that_is_not_measured_decides_nothing() -> None:
    def without(arm: str, run: Run, scan: Scan, alpha: float) -> tuple[float, float] | None:
        return None if run.lines["straight"] == scan else measured(arm, run, scan, alpha)

    (answer,) = answers(works.results(STUDY, without))
    assert answer.outcomes == {}
    assert {claim.verdict for claim in answer.claims} == {Verdict.NOT_MEASURED}
    assert "inconclusive" not in sentences.of(answer).verdict
