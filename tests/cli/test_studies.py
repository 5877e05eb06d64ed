"""Commands on studies and trainings: what they print, what they leave, and how they end."""

from __future__ import annotations

import errno
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from linescape import atomic, studies
from linescape.recipe import Recipe
from linescape.studies.store import Store
from linescape.studies.study import Train
from tests.support.command_line import Line
from tests.support.own_study import FILE


def test_trained_checkpoints_say_what_they_are_of(line: Line, tmp_path: Path) -> None:
    code, out, err = line("train", *SHORT, "--under", "data_fraction=0.5")
    assert code == 0, err
    assert "test error" in err
    start, end = out.split()[-2:]
    again = line("train", *SHORT, "--under", "data_fraction=0.5")
    assert again[0] == 0
    assert again[1].split()[-2:] == [start, end]
    code, out, err = line("probe", start, end, "--alphas", "3", "--out", "seen")
    assert code == 0, err
    assert (tmp_path / "seen").is_dir()


def test_studies_are_listed_and_planned(line: Line) -> None:
    code, out, _ = line("study", "list")
    assert code == 0
    assert all(name in out for name in studies.names())
    assert len(out.splitlines()) < 3 * len(studies.names()), "a screen, not all arms of all scales"
    code, out, _ = line("study", "list", "vlaar2022")
    assert code == 0
    assert "cifar10-narrow-30" in out
    assert "T-All but RI-1" in out
    code, out, _ = line("study", "list", "vlaar2022", "--scale", "demo")
    assert code == 0
    assert "T-All but RI-1" not in out
    code, _, err = line("study", "list", "--scale", "demo")
    assert code == 2
    assert "study list vlaar2022 --scale demo" in err
    code, out, _ = line("study", "plan", "vlaar2022", "--arms", "mlp-spiral", "--runs", "1")
    assert code == 0
    assert "1 of 1 trainings" in out


def test_a_part_of_a_study_runs_once_and_is_reported(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = ["vlaar2022", "--arms", "mlp-spiral", "--runs", "1", "--store", "results"]
    code, _, err = line("study", "run", *part)
    assert code == 0, err
    code, _, err = line("study", "run", *part)
    assert code == 0
    assert "0 tasks done" in err
    code, out, err = line("study", "report", *part, "--out", "told")
    assert code == 0, err
    assert Path(out.strip()).is_file()


@pytest.mark.slow  # report/test_comparison.py has the quick one
def test_works_are_compared_by_the_results_that_there_are(line: Line) -> None:
    code, _, err = line("study", "compare", "--scale", "demo", "--store", "mistyped")
    assert code == 2
    assert "mistyped has no results" in err
    code, _, err = line("train", *SHORT, "--store", "results")
    assert code == 0, err
    code, out, err = line("study", "compare", "--scale", "demo", "--store", "results", "--out", "told")
    assert code == 0, err
    words = unescape(Path(out.strip()).read_text(encoding="utf-8"))
    assert "linescape study run liu2020 --scale demo --store results" in words


PART = ["vlaar2022", "--arms", "mlp-spiral", "--runs", "1", "--store", "results"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_results_are_left_out_of_a_report_and_made_again(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line("study", "run", *PART)[0] == 0
    curves = sorted((tmp_path / "results").glob("scan/*/curve.safetensors"))
    damaged = [*(tmp_path / "results").glob("train/*/end.safetensors"), curves[0], curves[1].parent / "done.json"]
    for file in damaged:
        flip(file)
    relative = [file.relative_to(tmp_path) for file in damaged]
    code, out, err = line("study", "report", *PART, "--out", "told")
    assert code == 0, err
    page = unescape(Path(out.strip()).read_text())
    for file in relative:
        assert f"Left out: {file} is damaged" in err
        assert f"{file} is damaged" in page
    assert "1 of 1 run is not finished" in page
    code, out, _ = line("study", "plan", *PART)
    assert "1 of 1 trainings" in out
    assert "2 of 3 lines" in out
    code, _, err = line("study", "run", *PART)
    assert code == 0
    assert "3 tasks done" in err
    for file in relative:
        assert f"was done again: {file} is damaged" in err
    code, out, err = line("study", "report", *PART, "--out", "told")
    assert (code, err) == (0, "")
    assert "is damaged" not in Path(out.strip()).read_text()


def test_there_is_no_report_of_nothing(line: Line, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for store in ("nowhere", "empty"):
        code, out, err = line("study", "report", "vlaar2022", "--store", store, "--out", "told")
        assert (code, out) == (2, "")
        assert f"{store} has no results, so there is nothing to report" in err
    assert not (tmp_path / "told").exists()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["index.html", "answers.json", "figures/mine.svg", "tables/runs.csv"])
def test_a_report_replaces_nothing_of_others(name: str, line: Line, tmp_path: Path) -> None:
    Store(tmp_path / "results").decline(Train(Recipe()), "so that there is one", {})
    mine = tmp_path / "site" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("<html>mine, linescape")
    for command in (["study", "report", *PART], ["demo", "--store", "other"]):
        code, _, err = line(*command, "--out", "site")
        assert code == 2
        assert f"site contains {name.partition('/')[0]}, which linescape did not write" in err
    assert mine.read_text() == "<html>mine, linescape"
    assert [path for path in (tmp_path / "site").rglob("*") if path.is_file()] == [mine]
    assert not (tmp_path / "other").exists()


def test_an_executor_that_is_not_there_ends_in_one_message(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    for options, said in (
        (["--executor", "kubernetes"], "There is no executor 'kubernetes'"),
        (["--executor", "ray"], "pip install 'linescape[ray]'"),
        (["--slurm", "time=3"], "Add --executor slurm"),
        (["--workers", "0"], "would do nothing"),
    ):
        code, out, err = line("study", "run", *PART, *options)
        assert (code, out) == (2, "")
        assert said in err
        assert "Traceback" not in err


def test_a_file_in_the_place_of_a_report_is_left_alone(line: Line, tmp_path: Path) -> None:
    Store(tmp_path / "results").decline(Train(Recipe()), "so that there is one", {})
    (tmp_path / "file").write_text("mine")
    for out, said in (
        ("file", "file is a file, but a report is a folder"),
        ("file/in", "a part of its path is a file"),
    ):
        code, _, err = line("study", "report", *PART, "--out", out)
        assert code == 2
        assert said in err
        assert "writable" not in err
    assert (tmp_path / "file").read_text() == "mine"


SHORT = [
    "--model",
    "mlp,hidden=16",
    "--data",
    "spiral",
    "--optimizer",
    "adam,lr=0.01",
    "--schedule",
    "constant,epochs=1",
]
LIMITED = f"""
import resource, sys
from linescape.cli import main
import linescape.studies.run  # so that nothing but results is written under the limit
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
sys.argv[1:] = ["train", *{SHORT!r}]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_file_that_may_not_grow_ends_in_one_message(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "the file would be larger than is allowed here. Raise the limit (ulimit -f)" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("done.json"))


def test_a_read_only_store_ends_in_one_message(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, out, err = line("study", "run", *PART)
    assert (code, out) == (2, "")
    assert "the file system is read-only. Choose another folder" in err
    assert len(err.strip().splitlines()) == 1


def test_a_full_disk_ends_in_one_message(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise atomic.cannot_write(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(atomic, "replacing", full)
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


def test_a_study_of_ones_own_is_listed_planned_run_and_reported(line: Line, tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(FILE)
    part = ["my_study.py", "--arms", "base", "wide", "--runs", "1", "--store", "results"]
    code, out, err = line("study", "list", "my_study.py")
    assert code == 0, err
    assert "Does momentum matter?" in out
    assert "no-momentum" in out
    code, out, err = line("study", "plan", *part)
    assert code == 0, err
    code, _, err = line("study", "run", *part)
    assert code == 0, err
    code, out, err = line("study", "report", *part, "--out", "told")
    assert code == 0, err
    assert "Does momentum matter?" in Path(out.strip()).read_text()
    (tmp_path / "my_study.py").write_text(FILE.replace("def waves(noise=0.5)", "def waves(noise=0.6)"))
    for command in ("plan", "run", "report"):
        code, _, err = line("study", command, *part, *(["--out", "told"] * (command == "report")))
        assert code == 0, err
        assert (
            "The code of waves in my_study.py has changed since 8 results" in err.replace("\n", " ") or command == "run"
        )
    assert line("study", "run", "my_study.py", "--scale", "demo")[0] == 2
    (tmp_path / "broken.py").write_text("study = 3")
    code, _, err = line("study", "run", "broken.py")
    assert code == 2
    assert "study = Study.of" in err


def test_a_study_that_fails_says_so_and_ends_with_an_error(line: Line, tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(FILE.replace("return self.head(", "raise ValueError('no way') ; return ("))
    code, _, err = line("study", "run", "my_study.py", "--arms", "base", "--runs", "1")
    assert code != 0
    assert "ValueError: no way" in err


def test_code_that_a_checkpoint_names_is_not_run(line: Line, tmp_path: Path) -> None:
    (tmp_path / "my_study.py").write_text(FILE)
    assert line("study", "run", "my_study.py", "--arms", "base", "--runs", "1")[0] == 0
    files = [str(next((tmp_path / "runs").glob(f"train/*/{at}.safetensors"))) for at in ("start", "end")]
    (tmp_path / "my_study.py").write_text("raise SystemExit('it was run')")
    code, _, err = line("probe", *files, "--alphas", "3")
    assert code == 2
    assert "Code that a file names is not run" in err
    assert "it was run" not in err
