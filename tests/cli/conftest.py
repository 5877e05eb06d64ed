"""The command line in a temporary folder, and two checkpoints there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from linescape import checkpoints, cli
from tests.support.command_line import OWN, Line, make_studies_quick


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Line]:
    """Run a command in a temporary folder; returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    make_studies_quick(monkeypatch)
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
