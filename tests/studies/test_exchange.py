from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from linescape.errors import StoreError
from linescape.recipe import Recipe
from linescape.studies.exchange import export_results, import_results
from linescape.studies.layout import folder_of
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Task, Train
from tests.support.stored import END, LINE, PLAIN, STATE, TASK, earlier, fill, same

KEPT = Keep(Moment(PLAIN, "epoch", 1))


def rewritten(path: Path, changes: Mapping[str, bytes | None], **entry: int) -> Path:
    """The archive with other contents of some names; None leaves one out."""
    other = path.with_name("other.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        contents = {**{name: old.read(name) for name in old.namelist()}, **changes}
        for name, content in contents.items():
            if content is not None:
                info = zipfile.ZipInfo(name)
                if name in changes:
                    for attribute, value in entry.items():
                        setattr(info, attribute, value)
                new.writestr(info, content)
    return other


def test_results_go_to_another_store(tmp_path: Path) -> None:
    store = fill(tmp_path / "one")
    store.save_state(KEPT, END, {})
    store.decline(Train(Recipe(seed=4)), "why not", {})
    told = export_results(store, tmp_path / "all.zip")
    assert (told.taken, told.missing, told.damaged) == (4, 0, [])
    other = Store(tmp_path / "other")
    assert import_results(other, tmp_path / "all.zip").taken == 4
    for task in (TASK, LINE, KEPT, Train(Recipe(seed=4))):
        assert other.has(task)
        for name in ("done.json", "task.json"):
            assert other.place.read(f"{folder_of(task)}/{name}") == store.place.read(f"{folder_of(task)}/{name}")
    assert same(other.state(KEPT.moment), STATE)
    assert export_results(other, tmp_path / "again.zip").taken == 4
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "all.zip").read_bytes()


def test_only_what_is_asked_for_and_done_is_exported(tmp_path: Path) -> None:
    store = fill(tmp_path / "one")
    told = export_results(store, tmp_path / "some.zip", [LINE, Train(Recipe(seed=4))])
    assert (told.taken, told.missing) == (2, 1)  # the line needs the training
    with zipfile.ZipFile(tmp_path / "some.zip") as archive:
        assert all(not name.endswith(("verified.json", ".lock")) for name in archive.namelist())


def test_a_damaged_result_is_not_exported(tmp_path: Path) -> None:
    store = fill(tmp_path / "one")
    assert store.has(TASK)
    path = store.folder(TASK) / "end.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = export_results(store, tmp_path / "all.zip")
    assert (told.taken, told.missing, len(told.damaged)) == (1, 0, 1)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("train")]


def test_a_good_result_is_never_overwritten_and_a_damaged_one_is(tmp_path: Path) -> None:
    export_results(fill(tmp_path / "one"), tmp_path / "all.zip")
    other = Store(tmp_path / "other")
    other.save_training(TASK, STATE, END, [], {"seconds": 9.0})
    assert (import_results(other, tmp_path / "all.zip").there, other.record(TASK)["seconds"]) == (1, 9.0)
    (other.folder(TASK) / "end.safetensors").write_bytes(b"")
    assert (import_results(other, tmp_path / "all.zip").taken, other.record(TASK)["seconds"]) == (1, 1.0)
    assert other.has(TASK)
    assert other.damaged == {}


@pytest.mark.parametrize("name", ["end.safetensors", "done.json", "task.json"])
def test_a_damaged_result_is_not_imported(tmp_path: Path, name: str) -> None:
    export_results(fill(tmp_path / "one"), tmp_path / "all.zip")
    other = Store(tmp_path / "other")
    archive = rewritten(tmp_path / "all.zip", {f"{folder_of(TASK)}/{name}": b"damaged"})
    told = import_results(other, archive)
    assert told.taken == 1
    assert len(told.damaged) == 1
    assert name in told.damaged[0]
    assert other.has(LINE)
    assert not other.has(TASK)
    told = import_results(other, rewritten(tmp_path / "all.zip", {f"{folder_of(TASK)}/{name}": None}))
    assert not other.has(TASK)
    assert bool(told.damaged) == (name != "done.json")  # without which there is no result


def test_a_result_of_another_task_is_not_imported(tmp_path: Path) -> None:
    store = fill(tmp_path / "one")
    other_task = Train(Recipe(seed=3))
    store.save_training(other_task, STATE, END, [], {})
    export_results(store, tmp_path / "all.zip")
    one, other = folder_of(TASK), folder_of(other_task)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        swapped = {
            f"{one}/{name}": archive.read(f"{other}/{name}")
            for name in ("done.json", "task.json", "start.safetensors", "end.safetensors")
        }
    told = import_results(into := Store(tmp_path / "other"), rewritten(tmp_path / "all.zip", swapped))
    assert len(told.damaged) == 1
    assert not into.has(TASK)
    assert into.has(other_task)


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "/tmp/x.json",
        "train/../../x.json",
        f"train/{TASK.key}/../x.json",
        f"train/{TASK.key}/.lock",
        f"train/{TASK.key}/run.py",
        f"train\\{TASK.key}\\end.safetensors",
        f"train/{TASK.key}/",
        "C:/x.json",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    export_results(fill(tmp_path / "one"), tmp_path / "all.zip")
    archive = rewritten(tmp_path / "all.zip", {name: b""})
    with pytest.raises(StoreError, match="is no archive that linescape store export wrote: it holds"):
        import_results(Store(tmp_path / "other"), archive)
    assert not (tmp_path / "other").exists()


def test_links_packed_files_and_names_that_are_twice_are_refused(tmp_path: Path) -> None:
    export_results(fill(tmp_path / "one"), tmp_path / "all.zip")
    end = f"{folder_of(TASK)}/end.safetensors"
    for changes, entry in (
        ({end: b"/etc/passwd"}, {"external_attr": (stat.S_IFLNK | 0o777) << 16}),
        ({end: bytes(10**6)}, {"compress_type": zipfile.ZIP_DEFLATED}),
    ):
        with pytest.raises(StoreError, match=r"it holds train/.*end\.safetensors"):
            import_results(Store(tmp_path / "other"), rewritten(tmp_path / "all.zip", changes, **entry))
    with zipfile.ZipFile(tmp_path / "all.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(end, b"again")
    with pytest.raises(StoreError, match="names are twice in it"):
        import_results(Store(tmp_path / "other"), tmp_path / "all.zip")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not an archive")
    with pytest.raises(StoreError, match="is no readable archive: File is not a zip file"):
        import_results(Store(tmp_path / "other"), tmp_path / "a.zip")
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        import_results(Store(tmp_path / "other"), tmp_path / "none.zip")
    export_results(fill(tmp_path / "one"), tmp_path / "all.zip")
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.zip").write_bytes(content)
    told = import_results(into := Store(tmp_path / "other"), tmp_path / "flipped.zip")
    assert told.damaged
    assert told.taken + len(told.damaged) == 2
    assert into.has(TASK) + into.has(LINE) == told.taken


def test_results_of_before_the_digest_move_too(tmp_path: Path) -> None:
    store = fill(tmp_path / "one")
    for task in (TASK, LINE):
        earlier(store, task)
    export_results(store, tmp_path / "all.zip")
    assert import_results(into := Store(tmp_path / "other"), tmp_path / "all.zip").taken == 2
    assert into.has(TASK)
    assert into.has(LINE)


def test_a_result_that_is_removed_while_it_is_exported_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, has = fill(tmp_path / "one"), Store.has

    def just_before(self: Store, task: Task) -> bool:
        found = has(self, task)
        if task == LINE:
            shutil.rmtree(store.folder(LINE))
        return found

    monkeypatch.setattr(Store, "has", just_before)
    told = export_results(store, tmp_path / "some.zip")
    assert (told.taken, told.missing, told.damaged) == (1, 1, [])
