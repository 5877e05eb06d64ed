"""What another process sees of a run: each task in one state, and a time left that follows from the records."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from linescape.studies.layout import folder_of
from linescape.studies.places.local import LocalFolder
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Task, Train
from linescape.studies.watching import Observer
from tests.support.small_study import FLAT, whole

OTHER = msgspec.structs.replace(FLAT, seed=7)
TASKS: list[Task] = [Train(FLAT), whole(FLAT), Train(OTHER), whole(OTHER)]


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_each_task_is_in_one_state(tmp_path: Path) -> None:
    store, observer = Store(tmp_path), Observer(TASKS, Store(tmp_path))
    first = observer.look()
    assert (first.waiting, first.total, first.is_over) == (tuple(TASKS), 4, False)
    with store.claim(Train(FLAT)):
        before = names_in(tmp_path)
        seen = observer.look()
        assert dict(seen.running) == {Train(FLAT): None}
        assert seen.waiting == tuple(TASKS[1:])
        assert names_in(tmp_path) == before
        with Store(tmp_path).claim(Train(FLAT)) as claimed:
            assert not claimed  # the look has not freed it
    store.note_failure(Train(OTHER), "It went wrong.")
    seen = observer.look()
    assert seen.running == {}
    assert list(seen.failed) == TASKS[2:]
    assert seen.failed[Train(OTHER)] == "It went wrong."
    assert "which failed" in seen.failed[whole(OTHER)]
    with store.claim(Train(OTHER)):
        assert dict(observer.look().failed) == {}  # it is tried again
    for task in TASKS:
        store.save(task, {}, {"seconds": 1.0})
    last = observer.look()
    assert (last.done, last.is_over, last.seconds_left) == (tuple(TASKS), True, None)
    assert not list(tmp_path.rglob("failed.json"))
    assert len(last.done) == last.total


def test_a_task_that_fails_is_noted_until_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from linescape.studies.executors import anywhere

    def fail(*_: object) -> None:
        raise ZeroDivisionError("no way")

    with monkeypatch.context() as patched:
        patched.setattr(anywhere, "do", fail)
        work(TASKS[:2], Store(tmp_path), progress=False, workers=1)
    seen = Observer(TASKS[:2], Store(tmp_path)).look()
    assert (list(seen.failed), seen.is_over) == (TASKS[:2], True)
    assert seen.failed[Train(FLAT)].strip().endswith("ZeroDivisionError: no way")
    (tmp_path / folder_of(Train(FLAT)) / "failed.json").write_bytes(b"[]")
    assert Observer(TASKS[:2], Store(tmp_path)).look().failed[Train(FLAT)] == "What was noted of it is damaged."


def test_the_time_left_is_that_of_tasks_alike(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trainings: list[Task] = [Train(msgspec.structs.replace(FLAT, seed=seed)) for seed in range(5)]
    observer = Observer(trainings, store)
    with store.claim(trainings[1]):
        assert observer.look().seconds_left is None  # nothing is done that would tell
    store.save(trainings[0], {}, {"seconds": 120.0})
    assert observer.look().seconds_left is None  # nothing runs
    with store.claim(trainings[1]):
        assert observer.look().seconds_left == pytest.approx(4 * 120.0)
        with store.claim(trainings[2]):
            assert observer.look().seconds_left == pytest.approx(2 * 120.0)
    store.save(trainings[1], {}, {"seconds": 60.0})
    with store.claim(trainings[2]):
        assert observer.look().seconds_left == pytest.approx(3 * 90.0)


def test_points_of_a_walk_are_the_share_of_it(tmp_path: Path) -> None:
    store, scan = Store(tmp_path), whole(FLAT, alphas=4)
    store.save(Train(FLAT), {}, {"seconds": 1.0})
    folder = tmp_path / folder_of(scan) / "points"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"{number}.safetensors").touch()
    observer = Observer([scan], store)
    assert observer.look().begun == (scan,)
    with store.claim(scan, (0, 2)):
        assert dict(observer.look().running) == {scan: 0.75}


def test_a_state_within_a_training_runs_when_the_training_is_repeated(tmp_path: Path) -> None:
    store, keep = Store(tmp_path), Keep(Moment(FLAT, "step", 2))
    observer = Observer([Train(FLAT), keep], store)
    with store.claim(keep):
        assert list(observer.look().running) == [Train(FLAT)]
        store.save(Train(FLAT), {}, {"seconds": 1.0})
        assert list(observer.look().running) == [keep]


def test_a_failure_that_is_mended_while_one_looks_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, observer, read = Store(tmp_path), Observer(TASKS[:1], Store(tmp_path)), LocalFolder.read
    store.note_failure(TASKS[0], "It went wrong.")

    def just_before(self: LocalFolder, name: str) -> bytes:
        monkeypatch.setattr(LocalFolder, "read", read)
        store.save(TASKS[0], {}, {"seconds": 1.0})
        return read(self, name)

    monkeypatch.setattr(LocalFolder, "read", just_before)
    seen = observer.look()
    assert (dict(seen.failed), seen.is_over) == ({}, False)
    seen = observer.look()
    assert (seen.done, seen.is_over) == (tuple(TASKS[:1]), True)
