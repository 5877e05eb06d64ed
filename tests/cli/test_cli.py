"""The command line as a user types it: what it prints, what it leaves, and how it ends."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from linescape import atomic, checkpoints, cli
from linescape.cli import specs
from linescape.errors import DataError, RecipeError
from linescape.interpolation import resume
from linescape.recipe import MLP, Data, Optimizer, ResNet, Schedule

Line = Callable[..., tuple[int, str, str]]

OWN = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

def data():
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return {"train": (inputs, torch.arange(40) % 3), "test": (inputs[:20], torch.arange(20) % 3)}

def empty():
    return {"test": (torch.empty(0, 5), torch.empty(0, dtype=torch.long))}

def mislabelled():
    return {"test": (torch.randn(4, 5), torch.tensor([0, 1, 2, 3]))}

def nothing():
    return None

def wide():
    return {"test": (torch.randn(4, 7), torch.tensor([0, 1, 2, 0]))}

def arguments(width):
    return nn.Linear(width, 3)

def raises():
    return {}["x"]
"""


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Line]:
    """Run a command in a temporary folder; returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "own.py").write_text(OWN)
    sys.modules.pop("own", None)
    before = list(sys.path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["linescape", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    yield run
    sys.path[:] = before


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Two checkpoints of `OWN`'s network, one of each format."""
    torch.manual_seed(0)

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    torch.save(network().state_dict(), tmp_path / "a.pt")
    checkpoints.write(tmp_path / "b.safetensors", network().state_dict())
    return ["a.pt", "b.safetensors"]


OF_OWN = ["--model", "own:network", "--data", "own:data"]


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
    assert "min_delta" in err
    assert any((tmp_path / "probe").rglob("*.csv"))
    assert any((tmp_path / "probe").rglob("*.pdf"))


def test_a_place_for_the_report_is_tried_first(line: Line, pair: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = line("probe", *pair, *OF_OWN, "--out", "file/probe")
    assert code == 2
    assert "a part of its path is a file" in err
    assert "Statistics" not in err
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    code, _, err = line("probe", *pair, *OF_OWN, "--out", "site")
    assert code == 2
    assert "contains an index.html that is not the report of a probe" in err
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
        (["--model", "own.py", "--data", "own:data"], "write module:callable or file.py:function"),
        (["--model", "own:arguments", "--data", "own:data"], "cannot be called without arguments"),
        (["--model", "own:raises", "--data", "own:data"], "own:raises raised KeyError: 'x' (line"),
        (
            ["--model", "own:network", "--data", "own:wide"],
            "cannot be called with the first examples of 'test' ((4, 7)",
        ),
        ([*OF_OWN, "--alphas", "2"], "no position between the ends"),
        ([*OF_OWN, "--pattern", "attention"], "matches no tensor"),
        ([*OF_OWN, "--batchnorm", "recalibrat"], "Did you mean 'recalibrate'"),
        ([*OF_OWN, "--alphas", "1"], "a line has two ends"),
        ([*OF_OWN, "--alphas", "many"], "--alphas"),
        ([*OF_OWN, "--colour", "red"], "--colour"),
        ([*OF_OWN, "--device", "quantum"], "cannot be used"),
    ],
)
def test_bad_requests_end_in_one_message(line: Line, pair: list[str], words: list[str], message: str) -> None:
    code, _, err = line("probe", *pair, *words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "run", "vlar2022"], "Did you mean 'vlaar2022'"),
        (["study", "run", "vlaar2022", "--scale", "huge"], "no scale 'huge'"),
        (["study", "run", "vlaar2022", "--arms", "no-weigth-decay"], "Did you mean 'no-weight-decay'"),
        (["train", "--under", "weight_deacy=0"], "Did you mean 'weight_decay'"),
        (["train", "--under", "weight_decay=much"], "weight_decay"),
        (["train", "--model", "resnt"], "Did you mean 'resnet'"),
        (["train", "--model", "resnet,depht=8"], "Did you mean 'depth'"),
        (["train", "--optimizer", "sgd,lr=fast"], "is not possible"),
        (["train", "--data", "mnist"], "mnist"),
        (["flatten"], "flatten"),
    ],
)
def test_unknown_names_end_in_one_message(line: Line, words: list[str], message: str) -> None:
    code, _, err = line(*words)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


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


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "linescape", "study", "run", "vlaar2022", "--arms", "mlp-spiral", "--runs", "1"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)  # well inside the training
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again to continue" in err
    assert "Traceback" not in err
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


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


def test_what_is_named_in_words_becomes_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "absent"))  # not the sets that this machine may have
    assert specs.network("resnet,depth=20,width=4,skips=false") == ResNet(depth=20, width=4, skips=False)
    assert specs.network("mlp,hidden=20/10") == MLP((20, 10))
    assert specs.content(Data, "name", "cifar10,fraction=0.5,classes=0/3") == Data(
        "cifar10", fraction=0.5, classes=(0, 3)
    )
    assert specs.content(Optimizer, "name", "adam") == Optimizer("adam")
    assert specs.content(Schedule, "kind", "step,epochs=3,drops=1/2") == Schedule(3, "step", (1, 2))
    with pytest.raises(RecipeError, match="settings are name=value"):
        specs.network("resnet,20")
    with pytest.raises(DataError, match="linescape data get cifar10"):
        specs.network_and_data("resnet", "cifar10", None)
