from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from linescape.recipe import Recipe
from linescape.studies.encoding import encode_record
from linescape.studies.inventory import check
from linescape.studies.layout import folder_of
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Train, hump_line
from tests.support.stored import CURVE, END, LINE, PLAIN, ROWS, TASK, fill


def test_a_whole_store_is_whole(tmp_path: Path) -> None:
    store = fill(tmp_path)
    store.save_state(Keep(Moment(PLAIN, "step", 2)), END, {})
    store.half_done(Train(Recipe(seed=1)), {}).save_training(END, ROWS)
    store.half_done(LINE, {})
    found = check(store)
    assert (found.whole, found.damaged) == (3, {})
    assert found.begun == [folder_of(Train(Recipe(seed=1)))]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "linescape.json"]
    assert found.bytes == sum(path.stat().st_size for path in files)


def test_damage_that_no_time_shows_is_found(tmp_path: Path) -> None:
    store = fill(tmp_path)
    path = store.folder(TASK) / "end.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    # As on a disk that lost a bit: what was noted still fits.
    note = store.place.signatures(folder_of(TASK))["end.safetensors"]
    store._note(TASK, store.record(TASK)["files"], {**store._noted(TASK, store.record(TASK)["files"]), path.name: note})
    assert Store(tmp_path).has(TASK)  # nobody read it
    found = check(Store(tmp_path))
    assert found.whole == 1
    assert list(found.damaged) == [folder_of(TASK)]
    assert "end.safetensors is damaged" in found.damaged[folder_of(TASK)]
    assert not Store(tmp_path).has(TASK)  # and now all know


def test_what_does_not_say_what_it_is_of_is_damaged(tmp_path: Path) -> None:
    store = fill(tmp_path)
    store.save_curve(hump_line(Recipe(seed=1)), CURVE, {})
    (store.folder(LINE) / "task.json").unlink()
    shutil.copy(store.folder(LINE) / "done.json", store.folder(hump_line(Recipe(seed=1))))
    found = check(store)
    assert found.whole == 1
    assert set(found.damaged) == {folder_of(LINE), folder_of(hump_line(Recipe(seed=1)))}
    assert "Remove that file and run its study again" in found.damaged[folder_of(LINE)]
    assert Store(tmp_path).has(LINE)  # as its study asks, after which the store says again what it is of
    assert set(check(store).damaged) == {folder_of(hump_line(Recipe(seed=1)))}


def test_a_record_that_names_files_elsewhere_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "secret").write_bytes(b"s")
    for name in ("../secret", "../../../secret", str(tmp_path / "secret"), "a\\b", "done.json", ".."):
        store.put(TASK, {"task.json": b"{}"}, {}, encode_record(TASK.key, {"files": {name: "0" * 64}}))
        assert not store.has(TASK)
        assert "is no file of this result" in store.damaged[TASK]
    store = fill(tmp_path / "linked")
    path = store.folder(TASK) / "end.safetensors"
    shutil.move(path, tmp_path / "end.safetensors")
    path.symlink_to(tmp_path / "end.safetensors")
    assert not store.has(TASK)
    assert "outside of the store" in store.damaged[TASK]


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    store = fill(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    check(store)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_removed_while_it_is_checked_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path)
    found = check(store, lambda *_: shutil.rmtree(store.folder(TASK), ignore_errors=True))
    assert (found.whole, found.damaged) == (1, {})
    read = LocalFolder.read

    def just_before(self: LocalFolder, name: str) -> bytes:
        shutil.rmtree(store.folder(LINE), ignore_errors=True)
        return read(self, name)

    monkeypatch.setattr(LocalFolder, "read", just_before)
    assert list(store.listed()) == []
