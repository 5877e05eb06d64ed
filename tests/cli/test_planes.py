"""The command `plane`: what it prints and leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn

from linescape.interpolation import surface
from linescape.interpolation.surface import Surface
from tests.support.command_line import OF_OWN, Line


def third(tmp_path: Path) -> str:
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    torch.save(network.state_dict(), tmp_path / "c.pt")
    return "c.pt"


def test_a_plane_through_three_checkpoints(line: Line, pair: list[str], tmp_path: Path) -> None:
    code, out, err = line("plane", *pair, third(tmp_path), *OF_OWN, "--points", "5", "--out", "p")
    assert code == 0, err
    assert "lowest on the grid" in err
    page = Path(out.strip())
    assert "Garipov et al. 2018" in page.read_text()
    found = Surface.load("p/surface.safetensors")
    assert list(found.marks) == ["a", "b", "c"]
    assert pl.read_csv("p/tables/plane.csv").height == found.frame().height
    assert json.loads(Path("p/plane.json").read_text())["provenance"]["plane"] == "through three networks"
    assert {path.suffix for path in Path("p/figures").iterdir()} == {".png", ".svg", ".pdf"}
    assert not Path("p/points").exists()
    assert line("plane", *pair, "c.pt", *OF_OWN, "--points", "4", "--out", "p")[0] == 0  # replaces its own report


def test_one_checkpoint_is_measured_in_random_directions(line: Line, pair: list[str]) -> None:
    code, out, err = line("plane", pair[0], *OF_OWN, "--points", "4", "--seed", "3", "--normalise", "layer")
    assert code == 0, err
    text = Path(out.strip()).read_text()
    assert "Li et al. 2018" in text
    assert Surface.load("plane/surface.safetensors").provenance["seed"] == 3


def test_what_is_no_plane_is_refused(line: Line, pair: list[str], tmp_path: Path) -> None:
    assert "two were named" in line("plane", *pair, *OF_OWN)[2]
    assert "named twice" in line("plane", pair[0], pair[0], pair[1], *OF_OWN)[2]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    code, _, err = line("plane", *pair, third(tmp_path), *OF_OWN, "--out", "site")
    assert (code, (tmp_path / "site" / "index.html").read_text()) == (2, "mine")
    assert "did not write" in err


def test_a_file_that_is_written_to_while_it_is_measured_gives_no_plane(
    line: Line, pair: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_plane, content = surface.scan_plane, Path(pair[0]).read_bytes()

    def while_measured(*given: Any) -> Surface:
        found = scan_plane(*given)
        with Path(pair[0]).open("r+b") as file:
            file.write(content)
        return found

    monkeypatch.setattr(surface, "scan_plane", while_measured)
    code, _, err = line("plane", *pair, third(tmp_path), *OF_OWN, "--points", "4")
    assert (code, "was written to while it was read" in err) == (2, True)
    assert not Path("plane/index.html").exists()
