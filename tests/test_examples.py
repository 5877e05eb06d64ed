"""The examples run, at small sizes, and show what they are to show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from examples import before_merging, plain_pytorch

from linescape import cli
from linescape.studies.executors import local

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_plain_pytorch_leaves_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = plain_pytorch.main(epochs=1, images=300, folder=str(tmp_path / "run"))
    assert len(probe.curves["whole"].alphas) == 21
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert "The page: " in capsys.readouterr().out


def test_before_merging_finds_the_least_barrier_after_fine_tuning() -> None:
    heights = before_merging.main(epochs=1, images=500)
    assert heights["one fine-tuned from the other"] <= min(heights.values()) + 0.01


@pytest.mark.slow
def test_the_study_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "ALONE_SECONDS", float("inf"))
    for words in (["run", str(EXAMPLES / "own_study.py")], ["report", str(EXAMPLES / "own_study.py")]):
        monkeypatch.setattr(sys, "argv", ["linescape", "study", *words])
        cli.main()
    assert "Does dropout change the line?" in (tmp_path / "report" / "index.html").read_text()
