"""What a power failure may take: nothing that took a while, and of the rest only what is noticed and made again."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest

from linescape.errors import DamagedError, StoreError
from linescape.studies.layout import DONE
from linescape.studies.places.local import LocalFolder
from linescape.studies.run import work
from linescape.studies.store import FLUSHED, Store
from linescape.studies.study import Train
from tests.support.small_study import FLAT
from tests.support.stored import CURVE, END, LINE, ROWS, STATE, TASK

QUICK, LONG = {"seconds": 0.9 * FLUSHED}, {"seconds": FLUSHED}
RESULT = {"start.safetensors", "end.safetensors", "optimizer.safetensors", "log.parquet", "task.json"}


class Disk:
    """What was flushed, and what was removed or had its record written, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        flush, delete = os.fsync, LocalFolder.delete

        def flushed(handle: int) -> None:
            name = Path(f"/proc/self/fd/{handle}").readlink().name
            self.events.append(DONE if name.startswith(f".{DONE}") else name)
            flush(handle)

        def deleted(place: LocalFolder, *names: str) -> None:
            self.events += [f"removed {Path(name).name}" for name in names]
            delete(place, *names)

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(LocalFolder, "delete", deleted)

    def forget(self) -> None:
        self.events.clear()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("there is no /proc here, which says what a handle is of")
    return Disk(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.place.write("linescape.json", b'{"format": 1}')
    return made


def test_a_result_that_took_a_while_is_flushed_before_its_record_and_that_before_its_snapshot_goes(
    store: Store, disk: Disk
) -> None:
    store.save_training(TASK, STATE, END, ROWS, LONG)
    record = disk.events.index(DONE)
    assert set(disk.events[:record]) == RESULT | {TASK.key}
    assert disk.events[record:] == [DONE, TASK.key, "removed resume.safetensors", "removed failed.json"]
    assert len(disk.events) == 10


def test_what_is_sooner_made_again_is_not_flushed(store: Store, disk: Disk) -> None:
    store.save_training(TASK, STATE, END, ROWS, QUICK)
    store.save_curve(LINE, CURVE, QUICK)
    store.decline(Train(FLAT), "no", QUICK)
    assert [event for event in disk.events if not event.startswith("removed")] == []
    assert all(map(Store(store.root).has, (TASK, LINE, Train(FLAT))))


def test_what_goes_on_from_an_earlier_process_is_flushed_however_soon_it_ends(store: Store, disk: Disk) -> None:
    store.half_done(TASK, {}).save_training(END, ROWS)
    disk.forget()
    later = Store(store.root)
    later.half_done(TASK, {})
    later.save_training(TASK, STATE, END, ROWS, QUICK)
    assert {*RESULT, DONE} <= set(disk.events)


def test_what_a_flushed_result_was_made_from_is_flushed_before_it_once(store: Store, disk: Disk) -> None:
    """Made again, it might have other last bits than those that the line was walked with."""
    store.save_training(TASK, STATE, END, ROWS, QUICK)
    disk.forget()
    store.save_curve(LINE, CURVE, LONG)
    assert {*RESULT, DONE} <= set(disk.events[: disk.events.index("curve.safetensors")])
    disk.forget()
    store.save_curve(LINE, CURVE, LONG)
    assert "end.safetensors" not in disk.events
    assert "curve.safetensors" in disk.events


def test_a_disk_that_fails_is_told_and_nothing_is_settled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failed)
    with pytest.raises(StoreError, match="could not be written: Input/output error"):
        store.save_training(TASK, STATE, END, ROWS, LONG)
    assert not store.has(TASK)


@pytest.mark.parametrize("left", [None, 0, 0.5])
def test_what_a_power_failure_leaves_of_the_rest_is_never_used(tmp_path: Path, left: float | None) -> None:
    """Files of a result that was not flushed are gone, empty or cut short, any two of them, and all."""
    task = Train(FLAT)
    work([task], Store(tmp_path), progress=False, workers=1)
    folder = Store(tmp_path).folder(task)
    whole = {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}
    names = [name for name in whole if name not in ("verified.json", ".lock")]
    for count in (1, 2, len(names)):
        for lost in combinations(names, count):
            for name, content in whole.items():
                (folder / name).write_bytes(content)
            for name in lost:
                if left is None:
                    (folder / name).unlink()
                else:
                    (folder / name).write_bytes(whole[name][: int(left * len(whole[name]))])
            store = Store(tmp_path)
            if set(lost) != {"task.json"}:  # which is not read back
                assert not store.has(task), lost
            with suppress(DamagedError):
                assert {task} >= set(store.tasks())
