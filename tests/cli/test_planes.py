"""The command `plane`: what it prints and leaves."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import torch
from torch import nn

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
    surface = Surface.load("p/surface.safetensors")
    assert list(surface.marks) == ["a", "b", "c"]
    assert pl.read_csv("p/tables/plane.csv").height == surface.frame().height
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
