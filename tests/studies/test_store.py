"""What is written to a store is read back, and a write that fails loses nothing."""

from __future__ import annotations

import errno
import json
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from linescape import checkpoints
from linescape.errors import StoreError
from linescape.geometry.state import State
from linescape.recipe import (
    Recipe,
)
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import LOG, Store, recipe_of
from linescape.studies.study import Moment, Scan, Train, hump_line
from linescape.training.loop import Checkpoint
from tests.support.stored import CURVE, LINE, PLAIN, STATE, TASK, fill, same


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    store = fill(tmp_path / "new")
    assert store.has(TASK)
    assert store.has(LINE)
    assert same(store.state(Moment(PLAIN, "start")), STATE)
    trained = store.checkpoint(Moment(PLAIN))
    assert same(trained.state, STATE)
    assert (trained.step, list(trained.optimizer)) == (12, ["momentum_buffer/w"])
    log = store.log(PLAIN)
    assert log.schema == LOG
    assert log["test_loss"].to_list() == [None, math.inf]
    assert math.isnan(log["train_loss"][1])
    assert store.diverged(PLAIN)
    assert store.declined(TASK) is None
    assert np.array_equal(store.curve(LINE)["test"].values, CURVE["test"].values, equal_nan=True)
    assert store.record(LINE)["seconds"] == 2.0


def test_a_store_says_in_words_what_it_holds(tmp_path: Path) -> None:
    store = fill(tmp_path)
    assert msgspec.json.decode((store.folder(TASK) / "task.json").read_bytes(), type=Train) == TASK
    assert msgspec.json.decode((store.folder(LINE) / "task.json").read_bytes(), type=Scan) == LINE


def test_its_checkpoints_are_checkpoints_like_any_other(tmp_path: Path) -> None:
    found = checkpoints.read(fill(tmp_path).path(Moment(PLAIN)))
    assert set(found) == set(STATE)
    assert recipe_of(found.metadata or {}) == PLAIN
    assert recipe_of({}) is None
    assert recipe_of({"linescape": json.dumps({"recipe": {"data": 3}})}) is None


def test_what_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has(TASK)
    with pytest.raises(StoreError, match="no result for the training .* yet. Run its study first"):
        store.state(Moment(PLAIN))
    with pytest.raises(StoreError, match="no result for the line"):
        store.curve(LINE)
    assert list(tmp_path.iterdir()) == []


def test_a_declined_task_is_settled_and_says_why(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.decline(LINE, "its end diverged", {})
    assert store.has(LINE)
    assert store.declined(LINE) == "its end diverged"
    with pytest.raises(StoreError, match="its end diverged"):
        store.curve(LINE)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="not empty and has no linescape.json"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="is a file. Results need a folder"):
        Store(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_another_process_makes_meanwhile_is_one_of_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LocalFolder.read

    def just_before(self: LocalFolder, name: str) -> bytes:
        monkeypatch.setattr(LocalFolder, "read", read)
        fill(tmp_path)
        raise FileNotFoundError(name)

    monkeypatch.setattr(LocalFolder, "read", just_before)
    assert Store(tmp_path).has(TASK)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full. Free some"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "no. Check the disk and the folder"),
        (errno.EFBIG, "larger than is allowed here"),
    ],
)
def test_a_failed_write_loses_nothing(number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    room, real = [0], Path.replace

    def replace(self: Path, target: Path) -> Path:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(number, "no")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    other = State({"w": torch.zeros(1)})

    def save(new: Recipe) -> None:
        store.save_training(Train(new), other, Checkpoint(other), [], {"seconds": 0})
        store.save_curve(hump_line(new), CURVE, {})

    for renames in range(11):  # seven files of the training, four of the curve
        room[0] = renames
        with pytest.raises(StoreError, match=said):
            save(new := Recipe(seed=9 + renames))
        assert not store.has(hump_line(new))
        assert store.has(Train(new)) == (renames >= 7)
        assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]
        assert all(path.read_bytes() == content for path, content in before.items())


def test_a_place_where_no_folder_can_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "no", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    store = Store(tmp_path / "new")
    with pytest.raises(StoreError, match="you may not write there"), store.claim(TASK):
        pass
    with pytest.raises(StoreError, match="you may not write there"):
        store.save_curve(LINE, CURVE, {})


def test_a_task_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    with one.claim(TASK) as held:
        assert held
        with other.claim(TASK) as also:
            assert not also
        with other.claim(LINE) as different:
            assert different
    with other.claim(TASK) as now:
        assert now


def test_left_overs_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.claim(TASK):
        left = store.folder(TASK) / ".end.safetensors.123-4.partial"
        left.write_bytes(b"half")
    with store.claim(TASK):
        assert not left.exists()


@pytest.mark.parametrize("moment", ["signatures", "read"])
def test_a_result_that_is_removed_while_it_is_looked_at_is_missing(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store, look = fill(tmp_path).folder(TASK), Store(tmp_path), getattr(LocalFolder, moment)

    def just_before(self: LocalFolder, *given: object) -> object:
        found = look(self, *given)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    monkeypatch.setattr(LocalFolder, moment, just_before)
    assert not store.has(TASK)
    assert store.damaged == {}
