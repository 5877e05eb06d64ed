"""The page that compares the works."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from linescape import studies
from linescape.analysis import comparison as claims
from linescape.analysis.answers import answers
from linescape.report import comparison
from linescape.studies.store import Store
from tests.support.lines_of_studies import lines_of


def test_verdicts_are_those_of_the_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one work that is measured and one that is not."""
    names = ("tao2024", "wang2023")
    study = studies.find("tao2024", "mini")
    made = lines_of(study, lambda arm, seed, label, at: 2 - at, [0.0, 0.5, 1.0])
    (answer,) = answers(made)
    nothing = lines_of(studies.find("wang2023", "mini"), lambda *_: None)
    found = (
        claims.Work(study, answer.claims, 21, 21),
        claims.Work(nothing.study, answers(nothing)[0].claims, 0, 60),
    )
    monkeypatch.setattr(comparison, "compare", lambda *_: found)
    path = comparison.write("mini", Store(tmp_path / "store"), tmp_path / "page", ("--scale", "mini"))
    rows = json.loads((path.parent / "claims.json").read_bytes())
    assert {row["work"] for row in rows} == set(names)
    assert [row["verdict"] for row in rows] == ["holds", *["not measured here"] * 5]
    assert (rows[0]["value"], rows[0]["low"]) == (answer.claims[0].value, answer.claims[0].low)
    assert rows[1]["value"] is None
    words = html.unescape(path.read_text(encoding="utf-8"))
    assert "linescape study run wang2023 --scale mini" in words
    assert "linescape study run tao2024" not in words
    assert "complete runs" in words
    assert "a number can also rest on others" in " ".join(words.split())
