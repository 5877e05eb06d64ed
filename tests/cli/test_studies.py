"""Commands on studies and trainings: what they print, what they leave, and how they end."""

from __future__ import annotations

import errno
import math
from pathlib import Path

import pytest

from linescape import atomic
from tests.support.command_line import Line


def test_trained_checkpoints_say_what_they_are_of(line: Line, tmp_path: Path) -> None:
    recipe = [
        "--model",
        "mlp,hidden=16",
        "--data",
        "spiral",
        "--optimizer",
        "adam,lr=0.01",
        "--schedule",
        "constant,epochs=1",
    ]
    code, out, err = line("train", *recipe, "--under", "data_fraction=0.5")
    assert code == 0, err
    assert "test error" in err
    start, end = out.split()[-2:]
    again = line("train", *recipe, "--under", "data_fraction=0.5")
    assert again[0] == 0
    assert again[1].split()[-2:] == [start, end]
    code, out, err = line("probe", start, end, "--alphas", "3", "--out", "seen")
    assert code == 0, err
    assert (tmp_path / "seen").is_dir()


def test_studies_are_listed_and_planned(line: Line) -> None:
    code, out, _ = line("study", "list")
    assert code == 0
    assert "vlaar2022" in out
    assert "T-All but RI-1" in out
    code, out, _ = line("study", "plan", "vlaar2022", "--arms", "mlp-spiral", "--runs", "1")
    assert code == 0
    assert "1 of 1 trainings" in out


def test_a_part_of_a_study_runs_once_and_is_reported(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linescape.studies.run.ALONE_SECONDS", math.inf)  # tests/studies/test_run.py has the helpers
    part = ["vlaar2022", "--arms", "mlp-spiral", "--runs", "1", "--store", "results"]
    code, _, err = line("study", "run", *part)
    assert code == 0, err
    code, _, err = line("study", "run", *part)
    assert code == 0
    assert "0 tasks done" in err
    code, out, err = line("study", "report", *part, "--out", "told")
    assert code == 0, err
    assert Path(out.strip()).is_file()


def test_a_full_disk_ends_in_one_message(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise atomic.cannot_write(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(atomic, "write", full)
    code, _, err = line("study", "run", "vlaar2022", "--arms", "mlp-spiral", "--runs", "1")
    assert code == 2
    assert "the disk is full" in err


def test_a_folder_of_something_else_is_left_alone(line: Line, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.tex").write_text("precious")
    code, _, err = line("study", "run", "vlaar2022", "--arms", "mlp-spiral", "--runs", "1")
    assert code == 2
    assert "is no folder of results" in err
    assert (tmp_path / "runs" / "thesis.tex").read_text() == "precious"


def test_no_runs_and_no_epochs_end_well(line: Line, tmp_path: Path) -> None:
    for runs in ("0", "-1"):
        code, _, err = line("study", "run", "vlaar2022", "--arms", "mlp-spiral", "--runs", runs)
        assert (code, f"{runs} runs of each arm leave nothing to do" in err) == (2, True)
    code, out, err = line("train", "--data", "spiral", "--model", "mlp,hidden=4", "--schedule", "constant,epochs=0")
    assert code == 0, err
    assert all(Path(path).is_file() for path in out.split())
