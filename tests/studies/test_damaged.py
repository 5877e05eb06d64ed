"""Whatever is damaged, misplaced or edited in a store is noticed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from linescape.errors import DamagedError, StoreError
from linescape.recipe import (
    Recipe,
)
from linescape.studies.store import Store
from linescape.studies.study import Moment, Train, hump_line
from tests.support.stored import CURVE, END, LINE, PLAIN, ROWS, STATE, TASK, earlier, fill, same


@pytest.mark.parametrize("name", ["start.safetensors", "end.safetensors", "optimizer.safetensors", "log.parquet"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", *(["pipe", "link"] if hasattr(os, "mkfifo") else [])])
def test_a_damaged_result_is_noticed(name: str, damage: str, tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = store.folder(TASK) / name
    content = path.read_bytes()
    if damage in ("gone", "pipe", "link"):
        path.unlink()
        if damage == "pipe":
            os.mkfifo(path)
        if damage == "link":
            path.symlink_to("nowhere")
    else:
        middle = len(content) // 2
        path.write_bytes(
            content[:middle] + (bytes([content[middle] ^ 1]) + content[middle + 1 :]) * (damage == "flipped")
        )

    def read() -> None:
        store.state(Moment(PLAIN, "start"))
        store.checkpoint(Moment(PLAIN))
        store.log(PLAIN)

    with pytest.raises(DamagedError, match=f"{name} is damaged .* Run the study again, which does that task anew"):
        read()
    assert not store.has(TASK)
    assert not Store(tmp_path).has(TASK)
    assert name in store.damaged[TASK]
    store.save_training(TASK, STATE, END, ROWS, {})
    assert store.has(TASK)
    assert store.damaged == {}
    assert store.record(TASK)["remarks"][0].startswith(f"was done again: {path} is damaged")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"{}", b"\xff", b"\0" * 30, b'{"files": {}}', b'{"files": []}', b"[" * 99999]
)
def test_a_damaged_record_is_noticed(content: bytes, tmp_path: Path) -> None:
    store = fill(tmp_path)
    (store.folder(LINE) / "done.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"(done\.json|curve\.safetensors) is damaged"):
        store.curve(LINE)


def test_every_field_of_a_record_counts(tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = store.folder(TASK) / "done.json"
    whole = json.loads(path.read_bytes())
    assert (whole["task"], set(whole["files"])) == (
        TASK.key,
        {f"{n}.safetensors" for n in ("start", "end", "optimizer")} | {"log.parquet"},
    )
    edits = [{**whole, "seconds": 1.5}, {**whole, "diverged": False}, {**whole, "more": 1}, {**whole, "declined": "no"}]
    edits += [{key: value for key, value in whole.items() if key != left_out} for left_out in whole]
    for edited in edits:
        path.write_text(json.dumps(edited))
        with pytest.raises(DamagedError, match=r"done\.json is damaged"):
            store.record(TASK)
        assert not store.has(TASK)
    path.write_text(json.dumps(whole))  # spaces do not count
    assert store.has(TASK)


def test_no_bit_of_a_record_may_flip(tmp_path: Path) -> None:
    store = fill(tmp_path)
    expected, path = store.record(LINE), store.folder(LINE) / "done.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            assert store.record(LINE) == expected  # only a space or a line's end
        except DamagedError:
            continue


def test_records_of_before_the_digest_are_read(tmp_path: Path) -> None:
    store = fill(tmp_path)
    for task in (TASK, LINE):
        earlier(store, task)
        assert Store(tmp_path).has(task)
    assert same(store.state(Moment(PLAIN)), STATE)
    (store.folder(LINE) / "task.json").write_text("{")  # only words
    assert Store(tmp_path).has(LINE)
    path = store.folder(TASK) / "done.json"
    path.write_bytes(path.read_bytes().replace(b"diverged", b"divergeD"))
    assert not store.has(TASK)


@pytest.mark.parametrize("old", [False, True])
def test_results_in_another_tasks_place_are_refused(tmp_path: Path, old: bool) -> None:
    store, other = fill(tmp_path), Recipe(seed=3)
    store.save_training(Train(other), STATE, END, [], {})
    store.save_curve(hump_line(other), CURVE, {})
    store.decline(Train(Recipe(seed=4)), "why not", {})
    for task, misplaced in ((TASK, Train(other)), (LINE, hump_line(other)), (Train(Recipe(seed=4)), TASK)):
        if old:
            earlier(store, task)
        aside = tmp_path / "aside"
        shutil.copytree(store.folder(misplaced), aside)
        shutil.rmtree(store.folder(misplaced))
        shutil.copytree(store.folder(task), store.folder(misplaced))
        assert not store.has(misplaced)
        assert "another task" in store.damaged[misplaced]
        assert store.has(task)
        shutil.rmtree(store.folder(misplaced))
        aside.rename(store.folder(misplaced))


def test_what_may_not_be_read_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(
            StoreError, match=r"done\.json cannot be read: Permission denied. Check its permissions"
        ) as caught:
            store.has(TASK)
    assert not isinstance(caught.value, DamagedError)
    assert store.damaged == {}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(StoreError, match="cannot be read: Permission denied"):
            store.has(TASK)
    assert store.has(TASK)


def test_results_are_read_whole_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)
    assert store.has(TASK)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", None)
        assert store.has(TASK)
    (store.folder(TASK) / "log.parquet").unlink()
    assert not store.has(TASK)


def test_a_newer_or_damaged_mark_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "linescape.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="written in format 99, but this linescape knows format 1"):
        Store(tmp_path)
    for content in ("", "[]", "{}", "[" * 99999):
        (tmp_path / "linescape.json").write_text(content)
        with pytest.raises(DamagedError, match=r"linescape\.json is damaged"):
            Store(tmp_path)
