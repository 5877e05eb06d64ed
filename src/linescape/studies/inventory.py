"""Reads all of a store: which results are whole, which are damaged, and what is only begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from linescape.errors import DamagedError, StoreError
from linescape.studies.layout import DONE, POINTS, RESULT, SNAPSHOT
from linescape.studies.places import Signature
from linescape.studies.store import Store


@dataclass
class Inventory:
    """What a store holds.

    Attributes:
        whole: number of results whose bytes are all as they were written.
        bytes: of all files, with what is begun.
        damaged: folder of a result -> what is wrong with it.
        begun: folders of tasks that are not done, with a snapshot or points.
        links: folders that are links and no part of the store, in which nothing is read.
    """

    whole: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def check(store: Store, report: Callable[[int, int], object] = lambda *_: None) -> Inventory:
    """Read and verify every result of a store, whatever study it is of, and whatever was noted of it.

    Args:
        store: the store.
        report: called with the number of results that were read, and of all.

    Raises:
        StoreError: the store cannot be read, which may pass; or one of its own folders is a link.
    """
    found = Inventory(links=store.place.links())
    for folder, files in result_folders(store).items():
        found.bytes += sum(map(size_of, files.values()))
        if DONE not in files and (SNAPSHOT in files or any(name.startswith(f"{POINTS}/") for name in files)):
            found.begun.append(folder)
    listed = list(store.listed())
    for number, (folder, task) in enumerate(listed):
        report(number, len(listed))
        if isinstance(task, str):
            found.damaged[folder] = task
            continue
        try:
            store.verify(task)
        except StoreError as error:
            if not store.has_record(folder):
                continue  # it was removed meanwhile
            if not isinstance(error, DamagedError):
                raise
            found.damaged[folder] = str(error)
        else:
            found.whole += 1
    return found


def result_folders(store: Store) -> dict[str, dict[str, Signature]]:
    """Folder of a result or of work that is begun -> its files by their names in it."""
    folders: dict[str, dict[str, Signature]] = {}
    for name, signature in store.place.signatures(deep=True).items():
        if folder := max(_folders(name), key=len, default=""):
            folders.setdefault(folder, {})[name.removeprefix(f"{folder}/")] = signature
    return folders


def size_of(signature: Signature) -> int:
    """The size of a file in bytes."""
    return next(part for part in signature if isinstance(part, int))


def _folders(name: str) -> Iterator[str]:
    parts = name.split("/")[:-1]
    return (folder for length in (2, 3) if RESULT.fullmatch(folder := "/".join(parts[:length])))
