"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import matplotlib
import pytest
import torch
from safetensors.torch import save_file

from linescape import cli
from tests.support import optional
from tests.support.command_line import make_studies_quick

README = (Path(__file__).parents[1] / "README.md").read_text()

MINE = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 3))

def data():
    return {"train": (torch.randn(60, 20), torch.arange(60) % 3), "test": (torch.randn(30, 20), torch.arange(30) % 3)}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_library_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, namespace)
    said = capsys.readouterr().out
    assert "Estimate(value=" in said
    assert said.startswith("There is a barrier: near alpha = 0.")  # as it is quoted; the last digits differ by machine
    assert "> There is a barrier: near alpha = 0." in README
    assert (tmp_path / "line.csv").exists()
    assert (tmp_path / "run" / "report" / "index.html").exists()


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(words: list[str]) -> str:
        if words[1] == "train":
            words = [*words, "--schedule", "constant,epochs=1", "--data", "fashion-mini,size=14,fraction=0.1"]
        if words[1] == "probe" and words[2].startswith("runs"):
            words = [*words, "--alphas", "11"]
        monkeypatch.setattr(sys, "argv", words)
        cli.main()
        return capsys.readouterr().out

    make_studies_quick(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(MINE)
    namespace: dict[str, Any] = {}
    exec(MINE + "before, after = network().state_dict(), network().state_dict()", namespace)
    torch.save(namespace["before"], tmp_path / "before.pt")
    save_file(namespace["after"], tmp_path / "after.safetensors")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for step, moment in enumerate(("before", "after", "before")):
        torch.save(namespace[moment], tmp_path / "run" / "checkpoints" / f"step-{step}.pt")
    commands = [line for block in blocks("shell") for line in block.splitlines() if line.startswith("linescape ")]
    assert len(commands) >= 6
    for command in commands:
        command = re.sub(r"\$\((.*?)\)", lambda inner: run(shlex.split(inner[1])), command)
        words = shlex.split(command, comments=True)
        if words[1:3] == ["data", "get"]:  # needs a network; tests/data/test_fetch.py runs it with a local server
            continue
        if "cifar10-small" in words:  # needs that data set, and hours
            continue
        if words[1:3] in (["study", "run"], ["study", "plan"], ["study", "report"]):
            words += ["--arms", "mlp-spiral", "--runs", "1"]  # the whole of it takes a quarter of an hour
        run(words)
    assert (tmp_path / "probe" / "index.html").exists()
    assert (tmp_path / "report" / "index.html").exists()


def test_the_two_commands_of_the_start_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", "\n".join(blocks("shell")), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_examples_of_the_page_on_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    writer, tracking = Mock(spec=["add_scalar", "add_figure"]), Mock(spec=["log_metric", "log_figure"])
    run = Mock(spec=["define_metric", "log", "summary"])
    weights_and_biases = Mock(**{"init.return_value": run})
    monkeypatch.setitem(sys.modules, "wandb", weights_and_biases)
    namespace: dict[str, object] = {"SummaryWriter": lambda _: writer, "mlflow": tracking, "wandb": weights_and_biases}
    with matplotlib.rc_context({"backend": "agg"}):
        for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
            exec(block, namespace)
    for log in (writer.add_figure, tracking.log_figure, run.summary.update):
        log.assert_called_once()
    for written in ("blocks.pdf", "line.csv", "report/index.html", "run/report/index.html"):
        assert (tmp_path / written).exists()


def test_the_example_of_a_language_model_runs(capsys: pytest.CaptureFixture[str]) -> None:
    optional.load("transformers")
    page = (Path(__file__).parents[1] / "docs" / "models-and-data.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(example, {})
    assert capsys.readouterr().out.startswith("[")
