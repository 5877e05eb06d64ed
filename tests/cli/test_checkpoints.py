"""Commands on checkpoints: what they print, what they leave, and how they end."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from linescape import checkpoints
from linescape.cli import consoles
from linescape.interpolation import resume
from tests.support.command_line import OF_OWN, Line


def test_a_probe_of_ones_own_networks_leaves_a_page_and_its_numbers(
    line: Line, pair: list[str], tmp_path: Path
) -> None:
    code, out, err = line(
        "probe", *pair, *OF_OWN, "--layers", "--batchnorm", "interpolate", "recalibrate", "--alphas", "5"
    )
    assert code == 0, err
    page = Path(out.strip().splitlines()[-1])
    assert page.is_file()
    assert "recalibrate" in page.read_text()
    assert re.search(r"^(There is a barrier|No barrier|Inconclusive|No verdict)", err, re.MULTILINE)
    assert "alpha" in err
    assert "Each block alone at the start" in err
    assert any((tmp_path / "probe").rglob("*.csv"))
    assert any((tmp_path / "probe").rglob("*.pdf"))


def test_effects_that_matter_are_checked_before_anything_is_measured(
    line: Line, pair: list[str], tmp_path: Path
) -> None:
    for words, message in (
        (["0"], "Give a positive number"),
        (["some"], "is no number"),
        (["squared_error=1"], "A smallest effect is given for 'squared_error'"),
    ):
        code, _, err = line("probe", *pair, *OF_OWN, "--smallest-effect", *words)
        assert code == 2
        assert message in err
    assert not (tmp_path / "probe").exists()
    assert line("probe", *pair, *OF_OWN, "--alphas", "3", "--smallest-effect", "0.2", "error=3")[0] == 0
    summary = json.loads((tmp_path / "probe" / "probe.json").read_text())["summary"]
    effects = {each["measure"]: each["verdict"]["smallest_effect"] for each in summary["lines"][0]["series"]}
    assert effects == {"cross_entropy": 0.2, "error": 3.0}


def test_a_place_for_the_report_is_tried_first(line: Line, pair: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = line("probe", *pair, *OF_OWN, "-o", "file/probe")
    assert code == 2
    assert "a part of its path is a file" in err
    assert "Statistics" not in err
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    code, _, err = line("probe", *pair, *OF_OWN, "--out", "site")
    assert code == 2
    assert "contains index.html, which linescape did not write" in err
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_a_second_report_replaces_the_first(line: Line, pair: list[str], tmp_path: Path) -> None:
    assert line("probe", *pair, *OF_OWN, "--layers", "--alphas", "3")[0] == 0
    (tmp_path / "probe" / "figures" / "mine.png").write_text("mine")
    assert (tmp_path / "probe" / "figures" / "layers.png").exists()
    assert line("probe", *pair, *OF_OWN, "--alphas", "3")[0] == 0
    assert not (tmp_path / "probe" / "figures" / "layers.png").exists()
    assert (tmp_path / "probe" / "figures" / "whole.png").exists()
    assert (tmp_path / "probe" / "figures" / "mine.png").exists()


def test_a_probe_may_take_fewer_passes(line: Line, pair: list[str], tmp_path: Path) -> None:
    code, out, err = line("probe", *pair, *OF_OWN, "--adaptive", "--until", "5")
    assert code == 0, err
    assert "of 101 positions were measured" in err
    assert "are known to +-" in err
    assert Path(out.strip().splitlines()[-1]).is_file()
    code, _, err = line("probe", *pair, *OF_OWN, "--until", "0")
    assert code == 2
    assert "no half width" in err


@pytest.fixture
def run(pair: list[str], tmp_path: Path) -> Path:
    """A folder of four checkpoints of `OWN`'s network, of two formats."""
    folder = tmp_path / "training"
    folder.mkdir()
    for step, name in enumerate(["step-20.pt", "step-3.safetensors", "step-100.pt", "step-1000.safetensors"]):
        tensors = {tensor: value + 0.1 * step for tensor, value in checkpoints.read(pair[0]).items()}
        if name.endswith(".pt"):
            torch.save({"model": tensors, "epoch": step}, folder / name)
        else:
            checkpoints.write(folder / name, tensors)
    (folder / "notes.txt").write_text("precious")
    return folder


def test_the_checkpoints_of_a_training_are_walked_to_the_last(line: Line, run: Path, tmp_path: Path) -> None:
    code, out, err = line("probe", "training", *OF_OWN, "--alphas", "3")
    assert code == 0, err
    assert "4 checkpoints, in this order: step-3, step-20, step-100, step-1000." in err
    assert "Left out notes.txt." in err
    assert Path(out.strip()).is_file()
    found = json.loads((tmp_path / "probe" / "probe.json").read_text())
    assert list(found["lines"]) == [f"step-{step} to step-1000" for step in (3, 20, 100)]
    code, out, err = line("probe", "training", *OF_OWN, "--alphas", "3", "--pairs", "all", "--adaptive")
    assert code == 0, err
    assert len(json.loads((tmp_path / "probe" / "probe.json").read_text())["lines"]) == 6
    assert (tmp_path / "probe" / "figures" / "barriers.svg").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["training", *OF_OWN, "--layers"], "are for two checkpoints. Name both"),
        (["a.pt", "b.safetensors", *OF_OWN, "--pairs", "all"], "--pairs is for a folder"),
        (["a.pt", *OF_OWN], "cannot be listed as a folder"),
        (["training", *OF_OWN, "--pairs", "some"], "--pairs"),
    ],
)
def test_a_folder_and_two_files_are_told_apart(line: Line, run: Path, words: list[str], message: str) -> None:
    code, _, err = line("probe", *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_probe_in_bfloat16_says_so(line: Line, pair: list[str]) -> None:
    code, out, err = line("probe", *pair, *OF_OWN, "--precision", "bfloat16", "--alphas", "3")
    assert code == 0, err
    page = Path(out.strip().splitlines()[-1]).read_text()
    assert re.search(r"precision on lines</td><td[^>]*>bfloat16<", page)


def test_an_average_is_a_checkpoint_like_its_second(line: Line, pair: list[str], tmp_path: Path) -> None:
    code, out, err = line("average", *pair, "--alpha", "0.3", "-o", "c.safetensors", *OF_OWN)
    assert code == 0, err
    assert out.strip() == "c.safetensors"
    assert "were recomputed: 1.num_batches_tracked, 1.running_mean, 1.running_var" in err
    assert checkpoints.read(tmp_path / out.strip()).file_format.kind == "safetensors"
    code, _, err = line("average", *pair, "-o", "c.safetensors")
    assert code == 2
    assert "is there already" in err
    code, _, err = line("average", *reversed(pair), "--alpha", "0.3", "-o", "d.pt")
    assert code == 0, err
    assert "not those of the averaged network" in err
    assert set(torch.load(tmp_path / "d.pt", weights_only=True)) == set(torch.load(tmp_path / "a.pt"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def code_in(path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch ran",)

    path.write_bytes(pickle.dumps(Code()))


def other_network(path: Path) -> None:
    torch.save(nn.Linear(5, 3).state_dict(), path)


def other_shape(path: Path) -> None:
    net = nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3))
    torch.save(net.state_dict(), path)


def not_a_number(path: Path) -> None:
    tensors = torch.load(path, weights_only=True)
    tensors["0.weight"][0, 0] = float("nan")
    torch.save(tensors, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "cut short or damaged"),
        (code_in, "never runs code from a file"),
        (other_network, "do not fit together in this Sequential"),
        (other_shape, "of another shape (0.bias: (9,) and (8,)"),
        (not_a_number, "holds NaN or infinity in 1 of 9 tensors: 0.weight (1)"),
        (Path.unlink, "could not be opened"),
    ],
)
def test_bad_checkpoints_end_in_one_message(
    line: Line, pair: list[str], tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tmp_path / pair[0])
    code, out, err = line("probe", *pair, *OF_OWN)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "own:network", "--data", "own:empty"], "no examples"),
        (
            ["--model", "own:network", "--data", "own:mislabelled"],
            "Labels run from 0 to 3, but the network has 3 outputs",
        ),
        (["--model", "own:network", "--data", "own:nothing"], "must return a dictionary"),
        (["--model", "own:nothing", "--data", "own:data"], "must return the network"),
        (["--model", "own:netwrk", "--data", "own:data"], "Did you mean 'network'"),
        (["--model", "absent:network", "--data", "own:data"], "could not be imported"),
        (["--model", "resnet", "--data", "own:data"], "needs data of linescape"),
        (["--model", "own:network"], "no data to measure on"),
        (["--data", "own:data"], "does not say which network"),
        (["--model", "own.py", "--data", "own:data"], "is module:callable or file.py:function"),
        (["--model", "own:arguments", "--data", "own:data"], "cannot be called without arguments"),
        (["--model", "own:raises", "--data", "own:data"], "own:raises raised KeyError: 'x' (line"),
        (
            ["--model", "own:network", "--data", "own:wide"],
            "cannot be called with the first examples of 'test' ((4, 7)",
        ),
        ([*OF_OWN, "--alphas", "2"], "no position between the two ends"),
        ([*OF_OWN, "--pattern", "attention"], "matches no tensor"),
        ([*OF_OWN, "--batchnorm", "recalibrat"], "Did you mean 'recalibrate'"),
        ([*OF_OWN, "--alphas", "1"], "a line has two ends"),
        ([*OF_OWN, "--alphas", "many"], "--alphas"),
        ([*OF_OWN, "--colour", "red"], "--colour"),
        ([*OF_OWN, "--device", "quantum"], "cannot be used"),
        ([*OF_OWN, "--device", "meta"], "cannot be used"),
        ([*OF_OWN, "--device", "cuda:63"], "cannot be used"),
        (["--model", "own:raises", "--data", "own:data", "--device", "mps:1"], "cannot be used"),
        ([*OF_OWN, "--pattern", "(("], "is not a regular expression"),
    ],
)
def test_bad_requests_end_in_one_message(line: Line, pair: list[str], words: list[str], message: str) -> None:
    code, _, err = line("probe", *pair, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_stopped_probe_goes_on(line: Line, pair: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("probe", *pair, *OF_OWN, "--layers", "--alphas", "4")
    code, _, err = line(*words, "--out", "whole")
    assert code == 0, err
    assert not (tmp_path / "whole" / "points").exists()
    keep, left = resume.keep, 6

    def stop(*given: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        keep(*given)

    with monkeypatch.context() as patch:
        patch.setattr(resume, "keep", stop)
        code, _, err = line(*words)
        assert code == 130
        assert "Finished work is kept: run the same command again to continue" in err
        left = 10  # of the 16, 6 are there
        code, _, err = line(*words)
    assert code == 0, err
    assert left == 0
    assert f"{Path('probe', 'points')} holds 6 points of an interrupted probe" in err
    assert not (tmp_path / "probe" / "points").exists()
    for table in sorted((tmp_path / "whole" / "tables").iterdir()):
        assert (tmp_path / "probe" / "tables" / table.name).read_bytes() == table.read_bytes()


def test_a_key_names_one_of_several_networks(line: Line, pair: list[str], tmp_path: Path) -> None:
    start, end = (dict(checkpoints.read(tmp_path / name)) for name in pair)
    for name, teacher in (("a.ckpt", start), ("b.ckpt", end)):
        torch.save({"student": start, "teacher": teacher, "epoch": 1}, tmp_path / name)
    files = ("a.ckpt", "b.ckpt")
    code, _, err = line("diff", *files)
    assert code == 2
    assert "'student' (9 tensors), 'teacher' (9 tensors). Choose one: --key" in err
    code, out, err = line("diff", *files, "--key", "teacher")
    assert code == 0, err
    assert "Read 'teacher' and left out student, epoch." in out
    code, out, err = line("average", *files, "--key", "teacher", "--out", "c.ckpt")
    assert code == 0, err
    assert list(torch.load(tmp_path / "c.ckpt", weights_only=True)) == ["teacher"]
    code, out, err = line("probe", *files, "--key", "teacher", *OF_OWN, "--alphas", "3")
    assert code == 0, err
    whole = (tmp_path / "probe" / "probe.json").read_text()
    code, _, err = line("probe", *pair, *OF_OWN, "--alphas", "3", "--out", "other")
    assert code == 0, err
    lines = [
        json.loads(text)["lines"]["whole"]["rows"] for text in (whole, (tmp_path / "other" / "probe.json").read_text())
    ]
    assert lines[0] == lines[1]


def test_a_narrow_terminal_takes_no_numbers_from_a_table(
    line: Line, pair: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, whole, _ = line("diff", *pair)
    assert code == 0
    numbers = re.findall(r"[\d.]+e?-?\d*", whole)
    monkeypatch.setattr(consoles.stdout, "width", 18)
    code, narrow, _ = line("diff", *pair)
    assert code == 0
    assert re.findall(r"[\d.]+e?-?\d*", narrow) == numbers


def test_a_pattern_is_checked_before_anything_is_compared(line: Line, pair: list[str]) -> None:
    code, _, err = line("diff", *pair, "--allow-missing", "head", "[a")
    assert code == 2
    assert "'[a' is not a regular expression" in err


def test_a_name_that_is_too_long_is_called_so(line: Line, pair: list[str]) -> None:
    code, _, err = line("average", *pair, "--out", "w" * 245)
    assert code == 2
    assert "its name is too long" in err


@pytest.mark.parametrize("hidden", [[10**9], [10**30], [1] * 10_000, [60, 60]])
def test_a_recipe_in_a_file_may_not_ask_for_more_than_the_file_holds(
    line: Line, tmp_path: Path, hidden: list[int]
) -> None:
    recipe = {"model": {"name": "mlp", "hidden": hidden}, "data": {"name": "spiral"}}
    for name in "ab":
        note = {"linescape": json.dumps({"recipe": recipe})}
        checkpoints.write(tmp_path / name, {"layers.0.weight": torch.randn(20, 20)}, note)
    code, _, err = line("probe", "a", "b")
    assert code == 2
    assert "is of a larger network than the 400 values in it" in err


def test_only_names_and_shapes_that_differ_can_be_allowed(line: Line, pair: list[str], tmp_path: Path) -> None:
    first, last = (dict(checkpoints.read(tmp_path / name)) for name in pair)
    weight = last["0.weight"]
    ends = {
        "NaN": ({**last, "0.weight": weight.clone().fill_(float("nan"))}, "holds NaN or infinity", False),
        "float8": ({**last, "0.weight": weight.to(torch.float8_e4m3fn)}, "float8", False),
        "variances": ({**last, "1.running_var": first["1.running_var"] * 0.5}, "negative", False),
        "shapes": ({**last, "3.weight": last["3.weight"][:2]}, "one shape in the start and another", True),
        "names": ({name: value for name, value in last.items() if name != "3.bias"}, "different tensors", True),
    }
    for name, (tensors, message, allowed) in ends.items():
        torch.save(tensors, tmp_path / "end.pt")
        code, _, err = line("average", pair[0], "end.pt", "--alpha", "3", "--extrapolate", "-o", "out.pt")
        assert (code, message in err, "--only-shared" in err) == (2, True, allowed), (name, err)


LIMITED = """
import resource, sys
import matplotlib.font_manager
from linescape.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_figures_that_may_not_grow_end_in_one_message_and_no_point_is_lost(
    line: Line, pair: list[str], tmp_path: Path
) -> None:
    words = ("probe", *pair, *OF_OWN, "--alphas", "3", "--layers")
    command = [sys.executable, "-c", LIMITED, *words]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "could not be written: the file would be larger than is allowed here" in ran.stderr
    assert f"{Path('probe', 'figures')}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.rglob("*.partial"))
    code, _, err = line(*words)
    assert code == 0, err
    assert "holds 12 points of an interrupted probe" in err


SAID = {
    "pipe": "no plain file but a pipe",
    "link": "is a link to nowhere, where nothing is",
    "n" * 300: "File name too long",
}
OPENED = {
    "a checkpoint": (("probe", "a.pt", "{}", *OF_OWN), True),
    "text": (("probe", "a.pt", "b.safetensors", "--model", "own:network", "--data", "text:{}"), True),
    "a table": (("probe", "a.pt", "b.safetensors", "--model", "own:network", "--data", "hf-data:{}.tables"), True),
    "code": (("probe", "a.pt", "b.safetensors", "--model", "{}.py:network", "--data", "own:data"), True),
    "images": (("probe", "a.pt", "b.safetensors", "--model", "own:network", "--data", "images:{}"), False),
    "weights": (("train", "--under", "from_file={}"), False),
    "a store": (("study", "report", "vlaar2022", "--store", "{}"), False),
    "a report": (("probe", "a.pt", "b.safetensors", *OF_OWN, "--out", "{}"), False),
    "data": (("data", "get", "mnist", "--from", "{}", "--root", "root"), False),
    "a folder of data": (("data", "get", "mnist", "--from", "a.pt", "--root", "{}"), False),
}
"""What a command opens: the words, and whether the message says what is there."""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and links")
@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("what", OPENED)
@pytest.mark.parametrize("name", SAID)
def test_what_cannot_be_opened_ends_in_one_message(name: str, what: str, line: Line, tmp_path: Path) -> None:
    if len(name) < 100:
        (tmp_path / f"{name}.tables").mkdir()
        for file in (name, f"{name}.py", f"{name}.tables/test-0.parquet"):
            os.mkfifo(tmp_path / file) if name == "pipe" else (tmp_path / file).symlink_to("nowhere")
    words, said = OPENED[what]
    code, out, err = line(*(word.format(name) for word in words))
    assert (code, out, "Traceback" in err) == (2, "", False), err
    assert SAID[name] in err or not said, err
