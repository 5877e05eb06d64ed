"""The folder that a keeper writes to: what is there already, what is lost or damaged during the training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from linescape import checkpoints
from linescape.errors import DataError, StoreError
from linescape.geometry.state import State
from linescape.keeper import Keeper
from tests.support.keeping import INPUTS, TARGETS, TEST, network, sgd, steps_of


def test_checkpoints_of_another_training_are_never_mixed_with(tmp_path: Path) -> None:
    model = network()
    with Keeper(model, tmp_path) as keeper:
        keeper.step()
    before = {path: path.read_bytes() for path in keeper.kept.values()}
    for value in model.parameters():
        value.data.add_(1)
    with pytest.raises(StoreError, match=r"has checkpoints of an earlier training \(step-0.*overwrite=True"):
        Keeper(model, tmp_path).__enter__()
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before


def test_a_cell_that_runs_again_replaces_what_it_wrote(tmp_path: Path) -> None:
    for steps in (4, 2):
        model = network()
        with Keeper(model, tmp_path, steps=1, data=TEST, overwrite=True) as keeper:
            for _ in steps_of(model, sgd(model), steps):
                keeper.step()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        f"step-{step:08d}.safetensors" for step in range(3)
    ]
    assert "step 0 to step 2" in (tmp_path / "report" / "index.html").read_text()
    with pytest.raises(ZeroDivisionError), Keeper(model, tmp_path, data=TEST, overwrite=True):
        raise ZeroDivisionError
    assert "This report was not finished" in (tmp_path / "report" / "index.html").read_text()


def test_what_a_killed_training_had_begun_to_write_is_no_checkpoint(tmp_path: Path) -> None:
    begun = tmp_path / "checkpoints" / ".step-00000007.safetensors.123-456.partial"
    begun.parent.mkdir()
    begun.write_bytes(b"half")
    model = network()
    with Keeper(model, tmp_path) as keeper:
        keeper.step()
    assert begun.exists()  # perhaps another process still writes it
    with Keeper(model, tmp_path, overwrite=True) as keeper:
        keeper.step()
    assert not begun.exists()


def test_a_folder_that_is_deleted_during_the_training_is_said(tmp_path: Path) -> None:
    model = network()
    keeper = Keeper(model, tmp_path / "run", data=TEST).__enter__()
    keeper.step()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(StoreError, match="step-00000000.safetensors cannot be read"):
        keeper.__exit__(None, None, None)


def test_overwriting_deletes_nothing_that_no_keeper_wrote(tmp_path: Path) -> None:
    model = network()
    with Keeper(model, tmp_path) as keeper:
        keeper.step()
    (tmp_path / "checkpoints" / "mine.pt").write_bytes(b"mine")
    with pytest.raises(StoreError, match="files that no keeper wrote"):
        Keeper(model, tmp_path, overwrite=True).__enter__()
    (tmp_path / "checkpoints" / "mine.pt").unlink()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("mine")
    with pytest.raises(StoreError, match="linescape did not write"):
        Keeper(model, tmp_path, overwrite=True).__enter__()
    bad = Keeper(model, tmp_path, data={"test": (INPUTS[:, :4], TARGETS)}, overwrite=True)
    (tmp_path / "report" / "index.html").unlink()
    with pytest.raises(DataError), bad:
        pytest.fail("the training began")
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_checkpoint_that_is_damaged_during_the_training_is_found(tmp_path: Path) -> None:
    def train_while_a_bit_flips() -> None:
        with Keeper(network(), tmp_path, data=TEST) as keeper:
            damaged = bytearray(keeper.kept[0].read_bytes())
            damaged[-3] ^= 4
            keeper.kept[0].write_bytes(damaged)

    with pytest.raises(StoreError, match="is not what was saved"):
        train_while_a_bit_flips()


def test_a_start_that_another_training_replaces_as_it_is_saved_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, other = checkpoints.write, State.from_module(network()).state_dict()

    def and_another(path: Path, tensors: Any, note: Any) -> None:
        write(path, tensors, note)
        if note["step"] == "0":
            write(path, {name: value + 1 for name, value in other.items()}, note)

    monkeypatch.setattr(checkpoints, "write", and_another)
    with pytest.raises(StoreError, match="is not what was saved"), Keeper(network(), tmp_path, data=TEST) as keeper:
        keeper.step()
