"""What a store can do without: results that no study needs, and what was left over on the way to those that it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from linescape.atomic import SUFFIX
from linescape.studies.inventory import result_folders, size_of
from linescape.studies.layout import DONE, FAILED, POINTS, SNAPSHOT, folder_of, lock_of
from linescape.studies.places.place import LEASE, LOCK
from linescape.studies.store import Store
from linescape.studies.study import Study

UNNEEDED = "no study that is kept needs it"
HALF_DONE = "half-done work of a task that is done"
LEFT_OVER = "left over from a process that was killed"


@dataclass(frozen=True)
class Garbage:
    """Files of one task that may go.

    Attributes:
        folder: of the task.
        reason: why they may go.
        files: name in the folder -> bytes.
    """

    folder: str
    reason: str
    files: dict[str, int]

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(self.files.values())


def find_garbage(store: Store, kept: Iterable[Study] | None = None) -> list[Garbage]:
    """What may go from a store; nothing is removed.

    Args:
        store: the store.
        kept: studies whose tasks, and all that these need, stay; by default no result goes, only what is left over.

    Raises:
        StoreError: the store cannot be read.
    """
    needed = None if kept is None else {folder_of(t) for s in kept for t in s.tasks()}
    whole = {folder for folder, task in store.listed() if not isinstance(task, str) and store.has(task)}
    found = []
    for folder, signatures in result_folders(store).items():
        files = {name: size_of(signatures[name]) for name in _without_locks(signatures)}
        if not files:  # a task was claimed, and nothing came of it
            found.append(Garbage(folder, LEFT_OVER, {name: 0 for name in signatures if name.startswith(LOCK)}))
        if needed is not None and folder not in needed:
            found.append(Garbage(folder, UNNEEDED, files))
            continue
        left = {name: files[name] for name in files if name.rpartition("/")[2].startswith(".") and SUFFIX in name}
        half = {name: files[name] for name in files if name in (SNAPSHOT, FAILED) or name.startswith(f"{POINTS}/")}
        found.append(Garbage(folder, LEFT_OVER, left))
        if folder in whole:
            found.append(Garbage(folder, HALF_DONE, {name: half[name] for name in half if name not in left}))
    return [garbage for garbage in found if garbage.files]


def remove(store: Store, garbage: Iterable[Garbage]) -> list[Garbage]:
    """Remove what was found; returns what stayed, as another process works there, or has worked there since.

    Raises:
        StoreError: the store cannot be written.
    """
    stayed = []
    for each in sorted(garbage, key=lambda each: each.folder, reverse=True):  # what is within a training goes first
        with store.place.claim(lock_of(each.folder), wait=False) as claimed:
            if claimed and _is_as_found(store, each):  # the record first: without it the rest counts as nothing
                names = sorted(_without_locks(each.files), key=lambda name: name != DONE)
                store.place.delete(*(f"{each.folder}/{name}" for name in names))
                store.place.delete_empty(f"{each.folder}/{POINTS}")
                store.place.delete_empty(each.folder)
            else:
                stayed.append(each)
    return stayed


def _without_locks(names: Iterable[str]) -> list[str]:
    """Who has claimed a folder removes its locks with it, at the end: before, two could have it."""
    return [name for name in names if not name.startswith((LOCK, LEASE))]


def _is_as_found(store: Store, garbage: Garbage) -> bool:
    """Whether there is still a record, or still none: else what was listed is a part of something else now."""
    had_record = garbage.reason == HALF_DONE or DONE in garbage.files
    return garbage.reason == LEFT_OVER or store.has_record(garbage.folder) == had_record
