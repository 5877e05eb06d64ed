"""The works' claims side by side."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from linescape import studies
from linescape.analysis.answers import Claim, Outcome, Verdict
from linescape.analysis.comparison import Work, compare
from linescape.errors import RecipeError
from linescape.studies import works
from linescape.studies.store import Store


def of(low: float, high: float, expected: Outcome = Outcome.ABOVE, null: float = 0.0) -> Claim:
    row = {"value": (low + high) / 2, "low_all": low, "high_all": high}
    return Claim.of("It is higher.", "up to 3", "points", row, "value", expected, null)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (of(1, 2), Verdict.HOLDS),
        (of(-2, -1), Verdict.FAILS),
        (of(-1, 1), Verdict.INCONCLUSIVE),
        (of(math.nan, math.nan), Verdict.INCONCLUSIVE),
        (of(1, 2, Outcome.BELOW, 3.0), Verdict.HOLDS),
        (of(1, 2, Outcome.BELOW), Verdict.FAILS),
        (Claim.of("", "", "", None, "value", Outcome.ABOVE), Verdict.NOT_MEASURED),
    ],
)
def test_a_verdict_follows_from_the_interval(claim: Claim, verdict: Verdict) -> None:
    assert claim.verdict is verdict


def test_what_an_analysis_decides_otherwise_counts() -> None:
    row = {"value": 1.0, "low": 0.5, "high": 1.5}
    ends = ("low", "high")
    claim = Claim.of("", "", "", row, "value", Outcome.BELOW, 2.0, ends, outcome=Outcome.INCONCLUSIVE)
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert (claim.value, claim.low, claim.high) == (1.0, 0.5, 1.5)


def test_every_work_has_claims_whether_or_not_it_is_measured(tmp_path: Path) -> None:
    found = compare("demo", Store(tmp_path))
    without = {"hu2021"}  # which says nothing about lines
    assert [work.study.name for work in found] == ["vlaar2022", *(name for name in works.NAMES if name not in without)]
    for work in found:
        assert work.missing
        assert {claim.verdict for claim in work.claims} == {Verdict.NOT_MEASURED}
        assert work.done == 0 < work.runs
        for claim in work.claims:
            assert claim.claim.endswith(".")
            assert claim.measured


def test_what_no_run_of_a_scale_is_about_is_not_missing() -> None:
    """Another run of the study would not measure it."""
    study = studies.find("tao2024", "demo")
    claim = Claim.of("It is higher.", "", "points", None, "value", Outcome.ABOVE)
    assert not Work(study, (claim,), 3, 3).missing
    assert Work(study, (of(1, 2),), 2, 3).missing


def test_a_scale_that_is_unknown_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no scale 'tiny'"):
        compare("tiny", Store(tmp_path))
