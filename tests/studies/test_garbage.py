from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from linescape.recipe import Recipe
from linescape.studies.encoding import encode_task
from linescape.studies.garbage import HALF_DONE, LEFT_OVER, UNNEEDED, Garbage, find_garbage, remove
from linescape.studies.inventory import check
from linescape.studies.layout import folder_of
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import Store
from linescape.studies.study import Arm, Keep, Moment, Run, Study, Train
from tests.support.stored import END, LINE, PLAIN, ROWS, TASK, fill

STUDY = Study("s", "", "a study", "", (Arm("base", "base", "base", (Run(PLAIN, {"whole": LINE}),)),))
OTHER, KEPT = Train(Recipe(seed=4)), Keep(Moment(PLAIN, "step", 2))


def littered(root: Path) -> Store:
    store = fill(root)
    store.decline(OTHER, "why not", {})
    store.save_state(KEPT, END, {})
    store.half_done(TASK, {}).save_training(END, ROWS)
    store.half_done(Train(Recipe(seed=5)), {}).save_training(END, ROWS)
    (store.folder(LINE) / ".curve.safetensors.1-2.partial").write_bytes(b"half")
    return store


def by_folder(found: list[Garbage]) -> dict[str, str]:
    return {each.folder: each.reason for each in found}


def test_only_what_is_left_over_goes_by_default(tmp_path: Path) -> None:
    store = littered(tmp_path)
    found = find_garbage(store)
    assert by_folder(found) == {folder_of(TASK): HALF_DONE, folder_of(LINE): LEFT_OVER}
    sizes = {path: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.exists() for path in sizes)  # nothing was removed
    assert remove(store, found) == []
    gone = {path.name for path in sizes if not path.exists()}
    assert gone == {"resume.safetensors", ".curve.safetensors.1-2.partial"}
    assert sum(each.bytes for each in found) == sum(size for path, size in sizes.items() if not path.exists())
    assert find_garbage(store) == []
    assert [store.has(TASK), store.has(LINE), store.has(OTHER), store.has(KEPT)] == [True] * 4


def test_results_go_that_no_kept_study_needs(tmp_path: Path) -> None:
    store = littered(tmp_path)
    found = find_garbage(store, [STUDY])
    reasons = by_folder(found)
    assert {folder for folder, reason in reasons.items() if reason == UNNEEDED} == {
        folder_of(task) for task in (OTHER, KEPT, Train(Recipe(seed=5)))
    }
    remove(store, found)
    assert store.has(TASK)
    assert store.has(LINE)
    assert not store.has(OTHER)
    assert not store.has(KEPT)
    assert find_garbage(store, [STUDY]) == []


def test_folders_and_locks_go_with_what_was_in_them(tmp_path: Path) -> None:
    store = littered(tmp_path)
    only_claimed = Train(Recipe(seed=6))
    for task in (TASK, OTHER, KEPT, only_claimed):
        with store.claim(task):
            pass
    for part in (0, 1):
        with store.claim(LINE, (part, 2)):
            pass
    (store.folder(LINE) / "points").mkdir()
    assert by_folder(find_garbage(store))[folder_of(only_claimed)] == LEFT_OVER
    remove(store, find_garbage(store, [STUDY]))
    folders = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir()}
    assert folders == {"train", "scan", folder_of(TASK), folder_of(LINE)}
    assert find_garbage(store, [STUDY]) == []
    with store.claim(only_claimed) as claimed:  # and again
        assert claimed
        stayed = remove(Store(tmp_path), find_garbage(store))
    assert [each.folder for each in stayed] == [folder_of(only_claimed)]


def test_who_waits_for_a_lock_that_is_removed_gets_a_new_one(tmp_path: Path) -> None:
    """Of two that wait, one has it at a time."""
    store, holders, most = Store(tmp_path), list[int](), list[int]()

    def wait() -> None:
        with Store(tmp_path).claim(OTHER, wait=True):
            holders.append(1)
            most.append(len(holders))
            time.sleep(0.05)
            holders.pop()

    with store.claim(OTHER):
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        store.place.delete_empty(folder_of(OTHER))
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]


def test_half_done_work_of_a_damaged_result_stays(tmp_path: Path) -> None:
    store = littered(tmp_path)
    (store.folder(TASK) / "end.safetensors").write_bytes(b"")
    assert folder_of(TASK) not in by_folder(find_garbage(store))


def test_what_another_process_works_on_stays(tmp_path: Path) -> None:
    store = littered(tmp_path)
    found = find_garbage(store, [STUDY])
    with Store(tmp_path).claim(OTHER), Store(tmp_path).claim(KEPT):
        stayed = remove(store, found)
    assert {each.folder for each in stayed} == {folder_of(OTHER), folder_of(KEPT), folder_of(TASK)}
    assert store.has(OTHER)
    assert store.has(KEPT)


def test_a_lock_that_another_takes_when_it_is_removed_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, got = Store(tmp_path), Store(tmp_path), list[bool]()
    with store.claim(OTHER):
        pass
    found, delete = find_garbage(store), LocalFolder.delete
    with ExitStack() as held:

        def meanwhile(self: LocalFolder, *names: str) -> None:
            delete(self, *names)
            if True not in got:
                got.append(held.enter_context(other.claim(OTHER)))

        with monkeypatch.context() as patched:
            patched.setattr(LocalFolder, "delete", meanwhile)
            remove(store, found)
        with Store(tmp_path).claim(OTHER) as also:
            assert got[-1] != also  # one of them has it


def test_what_was_done_since_it_was_found_stays(tmp_path: Path) -> None:
    store, begun = littered(tmp_path), Train(Recipe(seed=5))
    store.place.write(f"{folder_of(begun)}/task.json", encode_task(begun))  # as while its result is written
    found = find_garbage(store, [STUDY])
    store.decline(begun, "why not", {})
    assert folder_of(begun) in {each.folder for each in remove(store, found)}
    assert store.has(begun)
    assert not check(store).damaged
