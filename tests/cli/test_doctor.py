"""`linescape doctor`: a table, an exit code, and what BatchNorm does to two checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from linescape.cli import doctor as command
from linescape.interpolation import known
from linescape.interpolation.known import Check
from tests.support.command_line import OF_OWN, Line


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What is found, in place of what takes seconds."""
    found = [Check("two times two", 4.0, 4.0, 0.0)]
    monkeypatch.setattr(known, "checks", lambda _: iter(found))
    return found


@pytest.mark.usefixtures("answers")
def test_a_sound_machine(line: Line) -> None:
    code, out, err = line("doctor")
    assert (code, err) == (0, "")
    assert f"torch {torch.__version__}" in out
    assert "threads of torch" in out
    assert "two times two" in out
    assert "All 1 known answers are right." in out


def test_a_wrong_number_ends_with_code_1_and_says_which(line: Line, answers: list[Check]) -> None:
    answers.append(Check("two times three", 7.0, 6.0, 1e-9))
    code, out, err = line("doctor")
    assert code == 1
    assert "WRONG" in out
    assert "1 of 2 known answers are wrong" in err
    assert "two times three is 7, not 6" in err
    code, out, _ = line("doctor", "--json")
    assert code == 1
    assert [check["ok"] for check in json.loads(out)["checks"]] == [True, False]


@pytest.mark.usefixtures("answers")
def test_one_checkpoint_is_too_few(line: Line, pair: list[str]) -> None:
    code, _, err = line("doctor", pair[0])
    assert code == 2
    assert "two checkpoints or none" in err


@pytest.mark.usefixtures("answers")
def test_each_treatment_of_two_checkpoints_is_told(line: Line, pair: list[str]) -> None:
    code, out, err = line("doctor", *pair, *OF_OWN, "--alphas", "3")
    assert code == 0, err
    for treatment in ("interpolate", "recalibrate", "start", "end", "batch"):
        assert f" {treatment} " in out
    code, out, _ = line("doctor", *pair, *OF_OWN, "--alphas", "3", "--json")
    told = json.loads(out)["batchnorm"]
    rows = {row["batchnorm"]: row for row in told["rows"]}
    assert rows["interpolate"]["end"] == rows["end"]["end"] != rows["recalibrate"]["end"]
    assert len(told["told"]) >= 1


@pytest.mark.usefixtures("answers")
def test_a_barrier_that_only_interpolated_statistics_have_is_told_as_theirs(line: Line, tmp_path: Path) -> None:
    """One function at two scales: interpolated variances are far too large near the smaller, recalibrated ones fit."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 1, generator=generator)
    code = (
        "import torch\nfrom torch import nn\n"
        "def network():\n    return nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1), nn.Linear(1, 2))\n"
        "def data():\n    saved = torch.load('data.pt')\n    return {'train': saved, 'test': saved}\n"
    )
    (tmp_path / "signs.py").write_text(code)
    torch.save((inputs, (inputs[:, 0] > 0).long()), tmp_path / "data.pt")
    for name, scale in (("a", 100.0), ("b", 0.1)):
        network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1), nn.Linear(1, 2))
        state = network.state_dict()
        state["0.weight"] = torch.tensor([[scale]])
        state["1.running_mean"], state["1.running_var"] = scale * inputs.mean(0), scale**2 * inputs.var(0)
        state["2.weight"], state["2.bias"] = torch.tensor([[-3.0], [3.0]]), torch.zeros(2)
        torch.save(state, tmp_path / f"{name}.pt")
    words = ("doctor", "a.pt", "b.pt", "--model", "signs.py:network", "--data", "signs.py:data")
    code_of_exit, out, err = line(*words)
    assert code_of_exit == 0, err
    assert "itself has another loss" not in out
    assert "Interpolated statistics say 'barrier' and recalibrated ones 'no barrier'" in out
    torch.save({**state, "1.running_var": 100 * state["1.running_var"]}, tmp_path / "b.pt")
    _, out, _ = line(*words)
    assert "END itself has another loss with its own statistics" in out
    assert "START itself" not in out


@pytest.mark.usefixtures("answers")
def test_without_statistics_or_training_data_it_says_so(line: Line, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def network():\n    return nn.Linear(2, 2)\n"
        "def normed():\n    return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))\n"
        "def data():\n    return {'test': (torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 0, 1]))}\n"
    )
    for name, bias in (("a", 0.0), ("b", 1.0)):
        linear = nn.Linear(2, 2)
        nn.init.constant_(linear.bias, bias)
        torch.save(linear.state_dict(), tmp_path / f"{name}.pt")
        torch.save(nn.Sequential(nn.BatchNorm1d(2), linear).state_dict(), tmp_path / f"normed-{name}.pt")
    code, out, err = line("doctor", "a.pt", "b.pt", "--model", "plain.py:network", "--data", "plain.py:data")
    assert code == 0, err
    assert "no running statistics of BatchNorm" in out
    words = ("normed-a.pt", "normed-b.pt", "--model", "plain.py:normed", "--data", "plain.py:data", "--alphas", "3")
    code, out, err = line("doctor", *words)
    assert code == 0, err
    assert "no data 'train' to recalibrate with" in out


def test_the_machine_is_described() -> None:
    machine = command._machine()
    assert {"versions", "python", "processor", "compiler", "bfloat16"} <= machine.keys()
    assert all(machine.values())
