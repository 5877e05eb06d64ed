"""Files of torch.save: nothing in a state dict is lost in silence, neither names nor the versions of its modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from linescape import checkpoints
from linescape.checkpoints import averaging
from linescape.errors import CheckpointError, StateError
from tests.checkpoints.test_formats import same


class Versioned(nn.Module):
    """A module that loads only what a module of its version has saved, as some of torchvision's do."""

    _version = 3

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    def _load_from_state_dict(self, held: Any, prefix: str, about: Any, *others: Any) -> None:
        if about.get("version") != 3:
            raise ValueError(f"saved by version {about.get('version')}")
        super()._load_from_state_dict(held, prefix, about, *others)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_versions_of_modules_are_written_again(wrapped: bool, zipped: bool, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        held: Any = Versioned(seed).state_dict()
        thing = {"net": held, "epoch": 1} if wrapped else held
        torch.save(thing, tmp_path / name, _use_new_zipfile_serialization=zipped)
    start, end = (checkpoints.read(tmp_path / name) for name in "ab")
    averaging.average(start, end, 1.0, tmp_path / "c")
    written = torch.load(tmp_path / "c", weights_only=True)
    written = written["net"] if wrapped else written
    network = Versioned(5)
    network.load_state_dict(written)
    assert same(network.state_dict(), held)
    assert written._metadata == held._metadata


NAMELESS: dict[str, tuple[Any, str]] = {
    "a tuple": (("layer", 2, "weight"), "1 under a tuple"),
    "bytes": (b"layer.weight", "1 under _codecs.encode"),
    "a long text": ("w" * 70_000, "1 under a long text"),
    "a large number": (1 << 70, "1 under a int"),
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_tensors_whose_keys_are_no_names_are_told_of(kind: str, tmp_path: Path) -> None:
    key, said = NAMELESS[kind]
    for name in "ab":
        torch.save({"fc.weight": torch.ones(2), key: torch.ones(3)}, tmp_path / name)
    found = checkpoints.read(tmp_path / "a")
    assert list(found) == ["fc.weight"]
    assert f"Left out tensors whose keys are no names: {said}." in found.notes
    with pytest.raises(StateError, match=said):
        averaging.average(found, checkpoints.read(tmp_path / "b"), 0.5, tmp_path / "c")


def test_names_that_are_no_text_are_told_of(tmp_path: Path) -> None:
    held: dict[Any, Tensor] = {key: torch.ones(2) for key in ("a", 12, False, None, 2.5)}
    torch.save(held, tmp_path / "a")
    found = checkpoints.read(tmp_path / "a")
    assert list(found) == ["a", "12", "False", "None", "2.5"]
    assert found.notes == ("Names that are no text are read, and would be written, as text: 12, False, None, 2.5.",)


def test_the_count_of_an_average_is_not_lost_in_silence(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        torch.save(AveragedModel(Versioned(seed)).state_dict(), tmp_path / name)
    start, end = (checkpoints.read(tmp_path / name) for name in "ab")
    notes = averaging.average(start, end, 0.5, tmp_path / "c")
    assert any("n_averaged" in note for note in notes)
    assert list(torch.load(tmp_path / "c")) == [f"module.{name}" for name in Versioned(0).state_dict()]


@pytest.mark.parametrize("buffers", [{}, {"bn.running_var": torch.ones(3), "bn.num_batches_tracked": torch.tensor(2)}])
def test_a_file_without_values_names_the_program_that_gathers_them(buffers: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"module": {f"{name}.weight": torch.empty(0) for name in ("fc", "bn")} | buffers}, tmp_path / "a")
    with pytest.raises(CheckpointError, match="they are empty.*zero_to_fp32.py"):
        checkpoints.read(tmp_path / "a")


def test_an_expanded_tensor_is_not_called_damaged(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2), "scale": torch.ones(3, 1).expand(3, 9)}, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"repeats its numbers.*contiguous"):
        checkpoints.read(tmp_path / "a")
