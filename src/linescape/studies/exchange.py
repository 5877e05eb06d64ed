"""Results as one file, to take elsewhere: each is verified when it leaves and when it arrives."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from linescape import atomic
from linescape.errors import DamagedError, StoreError
from linescape.studies.finished import Finished
from linescape.studies.layout import DONE, MARK, folder_of
from linescape.studies.places.archive import Archive
from linescape.studies.store import Store
from linescape.studies.study import Study, every_task
from linescape.studies.tasks import Task

MADE = (1980, 1, 1, 0, 0, 0)
"""The time of each file in an archive: the same results are the same archive."""


@dataclass
class Exchange:
    """What came of an export or an import.

    Attributes:
        taken: number of results that were taken.
        bytes: of their files.
        there: number of results that were not taken, as the store has them.
        missing: number of tasks that are not done, and so not in the archive.
        damaged: why results were left out.
    """

    taken: int = 0
    bytes: int = 0
    there: int = 0
    missing: int = 0
    damaged: list[str] = field(default_factory=list)


def export_results(store: Store, path: Path, tasks: Study | Iterable[Task] | None = None) -> Exchange:
    """Write the results of some tasks, and of all that they need, as a zip archive.

    Args:
        store: where the results are.
        path: of the archive; one that is there is replaced.
        tasks: a study, or any tasks; all that the store has by default.

    Raises:
        StoreError: the store cannot be read or the archive cannot be written.
    """
    told = Exchange()
    if tasks is None:
        wanted, told.damaged = _present(store)
    else:
        wanted = list(every_task(tasks))
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(zipfile.ZipInfo(MARK, MADE), store.place.read(MARK) if store.exists() else b"{}")
        for task in sorted(wanted, key=folder_of):
            try:
                if not store.has(task):
                    told.missing += task not in store.damaged
                    told.damaged += [store.damaged[task]] if task in store.damaged else []
                    continue
                files, _, record = store.contents(task)
            except StoreError as error:
                if not store.has_record(folder_of(task)):
                    told.missing += 1  # it was removed meanwhile
                    continue
                if not isinstance(error, DamagedError):
                    raise
                told.damaged.append(str(error))  # which the noted times did not show
                continue
            for name, content in {**files, DONE: record}.items():
                archive.writestr(zipfile.ZipInfo(f"{folder_of(task)}/{name}", MADE), content)
            told.taken += 1
            told.bytes += sum(map(len, files.values())) + len(record)
    return told


def import_results(store: Store, path: Path) -> Exchange:
    """Take the results in an archive that the store does not have.

    A good result of the store stays as it is, and a damaged one of the archive is left out.

    Raises:
        StoreError: the archive is none of `export_results`, or the store cannot be written.
    """
    with Archive.opened(path) as archive:
        other = Finished(archive)
        tasks, damaged = _present(other)
        told = Exchange(damaged=damaged)
        for task in tasks:
            try:
                files, checksums, record = other.contents(task)
            except DamagedError as error:
                told.damaged.append(str(error))
                continue
            with store.claim(task, wait=True):
                if store.has(task):
                    told.there += 1
                    continue
                store.put(task, files, checksums, record)
            told.taken += 1
            told.bytes += sum(map(len, files.values())) + len(record)
    return told


def _present(finished: Finished) -> tuple[list[Task], list[str]]:
    """The tasks of the results that are there, and why some folders cannot be told."""
    listed = list(finished.listed())
    return [task for _, task in listed if not isinstance(task, str)], [why for _, why in listed if isinstance(why, str)]
