"""What is said where something is missing or too much, and what scripts read: JSON, silence and exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from linescape.cli import consoles, usage
from linescape.errors import RecipeError
from linescape.studies import trainings
from tests.support.command_line import OF_OWN, Line

SPIRAL = ["vlaar2022", "--arms", "mlp-spiral", "--runs", "1", "--store", "results"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff"], "diff needs two checkpoints: linescape diff A B"),
        (["diff", "a.pt"], "diff needs two checkpoints: linescape diff A B"),
        (
            ["diff", "a.pt", "b.pt", "c.pt"],
            "diff takes two checkpoints, and 'c.pt' is one too many. Compare two at a time",
        ),
        (["diff", "a", "b", "c", "d"], "'c', 'd' are too many"),
        (["probe"], "linescape probe A B --model mine:network --data mine:data"),
        (["probe", "a", "b", "c"], "put several into one folder: linescape probe FOLDER --pairs all"),
        (["average", "a", "b"], "average needs two checkpoints or more and the file to write: linescape average A B"),
        (["plane"], "plane needs three checkpoints, or one for random directions: linescape plane A B C"),
        (["plane", "a", "b", "c", "d"], "and 'd' is one too many. For example: linescape plane A B C"),
        (["study", "plan"], "study plan needs the name of a study: linescape study plan vlaar2022"),
        (["study", "run"], "study run needs the name of a study"),
        (["study", "report"], "study report needs the name of a study"),
        (["study", "run", "vlaar2022", "mini"], "linescape study run vlaar2022 --scale demo"),
        (["data", "get"], "data get needs the name of a data set: linescape data get cifar10"),
        (["train", "resnet"], "train takes options only, and 'resnet' is one too many. For example: linescape train"),
        (["probe", "a", "b", "--alphas"], "--alphas requires an argument"),
    ],
)
def test_what_is_missing_or_too_much_is_said_with_an_example(line: Line, words: list[str], message: str) -> None:
    code, out, err = line(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_each_command_has_its_example_and_the_exit_codes_in_its_help(line: Line) -> None:
    for command in usage.NEEDS:
        code, out, _ = line(*command.split(), "--help")
        text = " ".join(out.split())
        assert code == 0
        assert f"Example: linescape {command} {usage.NEEDS[command][1]}" in text
        assert usage.EXIT_CODES in text
        assert "--json" in text
        assert "--quiet" in text


def test_the_commands_fit_on_a_screen_and_have_a_line_each(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consoles.stdout, "width", 80)
    out = line("--help")[1].rstrip().splitlines()
    assert len(out) <= 24
    assert max(map(len, out)) == 80
    assert out[-1] == "Example: linescape probe A B --model mine:network --data mine:data"
    commands = [row.split()[1] for row in out if row.startswith("│ ") and "--" not in row]
    assert commands == ["probe", "diff", "average", "plane", "train", "study", "store", "demo", "data", "doctor"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff", "openai/gpt3", "b"], "hf download openai/gpt3 --local-dir gpt3. Then name its folder: gpt3"),
        (["diff", "Qwen/Qwen2.5-0.5B", "b"], "hf download Qwen/Qwen2.5-0.5B --local-dir Qwen2.5-0.5B"),
        (["average", "gpt3", "b", "-o", "c"], "hf download gpt3 --local-dir gpt3"),
        (["probe", "a.pt", "b.safetensors", "--model", "hf:me/net", "--data", "own:data"], "name its folder: hf:net"),
        (["probe", "a.pt", "b.safetensors", "--model", "me/net", "--data", "own:data"], "name its folder: hf:net"),
        (
            ["probe", "a.pt", "b.safetensors", "--model", "own:network", "--data", "me/set"],
            "hf download me/set --repo-type dataset --local-dir set. Then name its folder: hf-data:set",
        ),
        (
            ["probe", "a.pt", "b.safetensors", "--model", "network", "--data", "own:data"],
            "is module:callable or file.py",
        ),
        (
            ["probe", "a.pt", "b.safetensors", "--model", "own:network", "--data", "own"],
            "are module:callable or file.py",
        ),
    ],
)
def test_names_of_the_hub_say_how_to_download(line: Line, pair: list[str], words: list[str], message: str) -> None:
    code, _, err = line(*words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("path", ["absent.pt", "here/absent", "a/b/c", "/absent", "model.safetensors"])
def test_paths_are_not_taken_for_names_of_the_hub(line: Line, tmp_path: Path, path: str) -> None:
    (tmp_path / "here").mkdir()
    code, _, err = line("diff", path, "b")
    assert code == 2
    assert "could not be opened" in err
    assert "hub" not in err


def test_a_position_beyond_the_ends_has_to_be_asked_for(line: Line, pair: list[str], tmp_path: Path) -> None:
    for alpha in ("30", "-0.5", "nan"):
        code, _, err = line("average", *pair, f"--alpha={alpha}", "-o", "c.safetensors")
        assert code == 2
        assert "add --extrapolate" in err
        assert not (tmp_path / "c.safetensors").exists()
    code, _, err = line("average", *pair, "--alpha", "1.5", "--extrapolate", "-o", "c.safetensors")
    assert code == 0, err


def test_json_is_all_that_standard_output_has(line: Line, pair: list[str], tmp_path: Path) -> None:
    def read(*words: str) -> dict[str, object]:
        code, out, err = line(*words, "--json")
        assert code == 0, err
        result = json.loads(out)
        assert isinstance(result, dict)
        return result

    (tmp_path / "loud.py").write_text("from own import *\nprint('hello')\n")
    loud = ("--model", "loud:network", "--data", "own:data")
    compared = read("diff", *pair)
    assert compared["start"]["values"] == 108  # type: ignore[index]
    assert compared["distances"]["all"]["count"] == 91  # type: ignore[index]
    probed = read("probe", *pair, *loud, "--alphas", "3")
    page = Path(str(probed["page"]))
    assert page.is_file()
    assert {**probed, **json.loads(page.with_name("probe.json").read_bytes())} == probed
    assert read("average", *pair, "-o", "c.safetensors")["path"] == "c.safetensors"
    assert read("data", "list")["spiral"] == {"train": 2000, "test": 1000, "classes": 2, "path": None}
    assert "demo" in read("study", "list")["vlaar2022"]["scales"]  # type: ignore[index]
    assert read("study", "list", "vlaar2022")["demo"]["base"]["runs"] == 2  # type: ignore[index]
    assert read("study", "plan", *SPIRAL)["missing_trainings"] == 1
    ran = read("study", "run", *SPIRAL)
    assert ran["done"] == 4
    assert ran["next"] == "linescape study report " + " ".join(SPIRAL)
    assert Path(str(read("study", "report", *SPIRAL, "--out", "told")["page"])).is_file()
    trained = read("train", "--data", "spiral", "--model", "mlp,hidden=4", "--schedule", "constant,epochs=1")
    assert Path(str(trained["end"])).is_file()
    assert 0 < float(str(trained["test_loss_nats"])) < 2
    code, out, err = line("diff", "absent.pt", pair[1], "--json")
    assert (code, out) == (2, "")
    assert "could not be opened" in err


def test_json_has_null_for_what_is_not_finite(line: Line, tmp_path: Path) -> None:
    for name, value in (("a", 0.0), ("b", 1.0)):
        torch.save({"fc.weight": torch.full((2, 2), value)}, tmp_path / f"{name}\udcff.pt")
    code, out, err = line("--json", "diff", "a\udcff.pt", "b\udcff.pt")
    assert code == 0, err
    assert not re.search("NaN|Infinity", out)
    result = json.loads(out)
    assert result["start"]["path"] == "a\udcff.pt"
    assert result["distances"]["fc"] == {"total": 2.0, "relative": None, "per_parameter": 1.0, "count": 4}


def test_quiet_leaves_the_result_and_errors(line: Line, pair: list[str]) -> None:
    for words in (
        ["probe", *pair, *OF_OWN, "--alphas", "3"],
        ["average", *pair, "-o", "c.safetensors"],
        ["study", "run", *SPIRAL],
        ["study", "plan", *SPIRAL],
        ["train", "--data", "spiral", "--model", "mlp,hidden=4", "--schedule", "constant,epochs=0"],
    ):
        code, _, err = line(*words, "--quiet")
        assert (code, err) == (0, "")
    code, out, err = line("average", *pair, "-o", "c.safetensors", "--quiet")
    assert (code, out) == (2, "")
    assert "is there already" in err
    assert line("diff", "--quiet", *pair)[1] == line("diff", *pair)[1]


def test_what_ones_own_code_prints_is_no_result(line: Line, pair: list[str], tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text("from own import *\nprint('hello')\n")
    code, out, err = line("probe", *pair, "--model", "loud.py:network", "--data", "own:data", "--alphas", "3")
    assert (code, out) == (0, f"{Path('probe', 'index.html')}\n")
    assert "hello" in err


def test_a_run_ends_with_the_command_that_reports_it(line: Line) -> None:
    code, out, err = line("study", "run", *SPIRAL)
    assert (code, out) == (0, "")
    command = err.strip().splitlines()[-1].removeprefix("Next, write the report: linescape ")
    code, out, err = line(*command.split())
    assert (code, out) == (0, f"{Path('report', 'index.html')}\n")


def test_failed_tasks_end_with_three(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecipeError("this one is impossible")

    monkeypatch.setattr(trainings, "run", fail)
    for quiet in ((), ("--quiet",)):
        code, out, err = line("study", "run", *SPIRAL, *quiet)
        assert (code, out) == (3, "")
        assert "failed, to be tried again by the next run. The first: this one is impossible" in err


@pytest.mark.parametrize("words", [("study", "list"), ("study", "list", "vlaar2022"), ("data", "list"), ("diff",)])
def test_names_are_whole_at_80_columns(words: tuple[str, ...], tmp_path: Path) -> None:
    name = "model.decoder.transformer_blocks.with_a_name_that_is_longer_than_any_terminal_is_wide_by_far"
    for file in ("a.pt", "b.pt"):
        torch.save({f"{name}.{part}.weight": torch.rand(2, 2) for part in ("first", "second")}, tmp_path / file)
    files = ("a.pt", "b.pt") if words == ("diff",) else ()
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "linescape", *words, *files],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "…" not in done.stdout
    shown = set(done.stdout.split())
    if files:
        assert {f"{name}.first", f"{name}.second"} <= shown
    elif words[0] == "study":
        from linescape import studies

        arms = {arm.name for arm in studies.find("vlaar2022").arms}
        assert (arms if "vlaar2022" in words else set(studies.names())) <= shown
        assert max(map(len, done.stdout.splitlines())) <= 80
    else:
        assert "fashion-mini" in shown
