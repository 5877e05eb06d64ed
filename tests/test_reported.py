"""No situation that users reported gives a wrong number in silence, or a traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linescape.errors import DataError
from tests.support import reported
from tests.support.situations import SITUATIONS, Answer, Case, judged

LONG = (
    "averages_of_weights",
    "keepers_in_one_folder",
    "killed_at_any_time",
    "lightning_modules",
    "models_of_libraries",
    "ways_to_call",
)
"""Situations that take a second or more of a processor each."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in SITUATIONS]
)
def test_reported_situations(name: str) -> None:
    assert reported
    failed = [verdict for verdict in judged([name]) if not verdict.passed]
    assert not failed


def refuses() -> Answer:
    raise DataError("Not these.")


def breaks() -> Answer:
    raise KeyError("weight")


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda: ([1.0], []), "right"),
        (lambda: ([1.0], ["a note"]), "right"),
        (lambda: ([2.0], ["a note"]), "noted"),
        (lambda: ([2.0], []), "wrong"),
        (lambda: ([1.0, 1.0], []), "wrong"),
        (refuses, "refused"),
        (breaks, "traceback"),
    ],
)
def test_only_what_has_to_come_of_a_case_passes(
    ask: Callable[[], Answer], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [Case("by default", ask, [1.0]), *(Case(outcome, ask, [1.0], outcome) for outcome in ("noted", "refused"))]
    monkeypatch.setitem(SITUATIONS, "made up", lambda _folder: cases)
    verdicts = list(judged(["made up"]))
    assert {verdict.kind for verdict in verdicts} == {kind}
    assert [verdict.passed for verdict in verdicts] == [kind == "right", kind == "noted", kind == "refused"]
    monkeypatch.setitem(SITUATIONS, "made up", lambda _folder: [Case("no number", ask, None)])
    (verdict,) = judged(["made up"])
    assert verdict.passed == (kind == "refused")
