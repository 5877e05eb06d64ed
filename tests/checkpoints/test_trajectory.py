from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from linescape import checkpoints
from linescape.checkpoints import trajectory
from linescape.errors import CheckpointError


def network(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four checkpoints in three forms, whose names in the alphabet are not in their order, and other files."""
    torch.save(network(0).state_dict(), tmp_path / "step-900.pt")
    checkpoints.write(tmp_path / "step-1000.safetensors", network(1).state_dict(), {"step": "1000"})
    wrapped = {f"module.{name}": value for name, value in network(2).state_dict().items()}
    torch.save({"state_dict": wrapped, "epoch": 1}, tmp_path / "step-90.ckpt")
    checkpoints.write(tmp_path / "last", network(3).state_dict(), {"step": "2000"})
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "logs-5").mkdir()
    return tmp_path


def test_checkpoints_are_in_the_order_of_their_numbers_and_read_on_access(folder: Path) -> None:
    found = trajectory.find(folder)
    assert list(found.paths) == ["step-90", "step-900", "step-1000", "last"]
    assert found.metadata == {"step": "2000"}
    states = found.states(network(9))
    assert list(states) == list(found.paths)
    for name, seed in zip(states, (2, 0, 1, 3), strict=True):
        own = network(seed).state_dict()
        assert all(torch.equal(value, own[tensor]) for tensor, value in states[name].items())
    assert states["last"] is not states["last"]


def test_what_is_left_out_is_named(folder: Path) -> None:
    spoilt = network(4).state_dict()
    spoilt["0.weight"][0, 0] = float("inf")
    torch.save(spoilt, folder / "step-3000.pt")
    torch.save(network(5, width=5).state_dict(), folder / "step-4000.pt")
    cut = folder / "step-5000.pt"
    cut.write_bytes((folder / "step-900.pt").read_bytes()[:100])
    found = trajectory.find(folder)
    assert list(found.paths) == ["step-90", "step-900", "step-1000", "last"]
    said = " ".join(found.notes)
    assert "in this order: step-90, step-900, step-1000, last." in said
    assert "Left out step-3000.pt. It holds NaN or infinity." in said
    assert (
        "Left out step-4000.pt. Names, shapes or types of its tensors differ from those of most others (0.bias" in said
    )
    assert "Left out step-5000.pt." in said
    assert "Left out config.json." in said
    assert "Left out logs-5." in said
    assert "hidden" not in said
    assert "Took 'module.'" in said


def test_a_prefix_of_names_keeps_no_checkpoint_out(folder: Path) -> None:
    tensors = {f"model.{name}": value for name, value in network(4).state_dict().items()}
    torch.save({"state_dict": tensors}, folder / "step-3000.ckpt")
    found = trajectory.find(folder)
    assert "step-3000" in found.paths
    assert torch.equal(found.states(network(9))["step-3000"]["0.bias"], tensors["model.0.bias"])


def test_the_folder_of_a_hugging_face_training(tmp_path: Path) -> None:
    for seed, name in enumerate(("checkpoint-1000", "checkpoint-500", "runs", ".")):
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        if name != "runs":
            checkpoints.write(place / "model.safetensors", network(seed).state_dict(), {"format": "pt"})
            (place / "config.json").write_text("{}")
            torch.save({"state": {}, "param_groups": [{"lr": 0.1}]}, place / "optimizer.pt")
    found = trajectory.find(tmp_path)
    assert list(found.paths) == ["checkpoint-500", "checkpoint-1000", "model"]
    last = found.states(network(9))["checkpoint-1000"]
    assert all(torch.equal(last[name], value) for name, value in network(0).state_dict().items())
    assert {note.split(".")[0] for note in found.notes[1:]} >= {
        f"Left out {n}" for n in ("config", "optimizer", "runs")
    }


def test_names_that_differ_by_their_suffix_only_are_kept_apart(tmp_path: Path) -> None:
    torch.save(network(0).state_dict(), tmp_path / "a-1.pt")
    checkpoints.write(tmp_path / "a-1.safetensors", network(1).state_dict())
    assert list(trajectory.find(tmp_path).paths) == ["a-1.pt", "a-1.safetensors"]


def test_fewer_than_two_checkpoints_are_no_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoints among its 0 entries, and a line needs two"):
        trajectory.find(tmp_path)
    torch.save(network(0).state_dict(), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"PK and no more")
    with pytest.raises(CheckpointError, match=r"has 1 checkpoint among its 2 entries.*Left out b\.pt"):
        trajectory.find(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be listed as a folder"):
        trajectory.find(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot be listed as a folder"):
        trajectory.find(tmp_path / "absent")


def test_masks_that_are_infinite_in_all_are_no_damage(tmp_path: Path) -> None:
    for step in range(4):
        held = {"w": torch.full((2,), float(step)), "mask": torch.tensor([0.0, -torch.inf])}
        if step == 2:
            held["w"][0] = torch.nan
        torch.save(held, tmp_path / f"step-{step}.pt")
    found = trajectory.find(tmp_path)
    assert list(found.paths) == ["step-0", "step-1", "step-3"]
    assert any(note.startswith("Left out step-2.pt. It holds NaN") for note in found.notes)


@pytest.mark.parametrize("replaced", [True, False])
def test_checkpoints_of_a_training_that_goes_on_are_not_mixed(replaced: bool, folder: Path) -> None:
    """Each is read anew for each line, and ``last`` is another network by then."""
    found = trajectory.find(folder)
    states = found.states(network(9))
    assert states["last"]
    if replaced:
        checkpoints.write(folder / "last", network(8).state_dict(), {"step": "3000"})
    else:
        with (folder / "last").open("r+b") as file:
            file.seek(-8, 2)
            file.write(bytes(8))
    with pytest.raises(CheckpointError, match="last was written to since it was first read"):
        states["last"]
    (folder / "last").unlink()  # as of trainings that keep the last few
    found.check_unchanged()
