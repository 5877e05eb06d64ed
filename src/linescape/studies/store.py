"""Results by what they are results of: in a folder, or in a place that fsspec reaches.

A store is content-addressed, see `layout`. Each file is written whole, and ``done.json`` last, so a kill, a full disk
or a second process never leaves half a result. All of it is checked when it is read, see `finished`; a half-done task
begins anew where what it left is damaged. Nothing in a store is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from linescape.errors import DamagedError, StoreError
from linescape.geometry.moved import moves
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import Moment
from linescape.studies.encoding import (
    LOG,
    Row,
    encode_log,
    encode_moves,
    encode_record,
    encode_state,
    encode_task,
    recipe_of,
)
from linescape.studies.finished import Finished
from linescape.studies.half_done import HalfDone
from linescape.studies.layout import DONE, FAILED, MARK, POINTS, SNAPSHOT, TASK, folder_of, key_of, lock_of, state_file
from linescape.studies.places import Place, opened
from linescape.studies.places.local import LocalFolder
from linescape.studies.tasks import Keep, Scan, Task, Train, in_order
from linescape.tensor_file import encode_with_note
from linescape.training.loop import Checkpoint

__all__ = ["FORMAT", "LOG", "Row", "Store", "recipe_of"]

FORMAT = 1

FLUSHED = 1.0
"""Seconds that a result must have taken to be flushed to the disk, which takes some hundredths: others are sooner made
again. One that a power failure left in pieces is noticed, by sizes or checksums."""


class Store(Finished):
    """A folder of results.

    Args:
        root: the folder, which is made on the first write; or an address that fsspec reaches, such as
            ``s3://bucket/folder``.

    Attributes:
        damaged: the results that were found damaged, and why; they count as missing.

    Raises:
        StoreError: it is a file, a folder of something else, of a newer linescape, or cannot be reached.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(opened(root))
        _check_mark(self.place)
        self._continued: set[Task] = set()
        self._flushed: set[Task] = set()

    def __str__(self) -> str:
        return self.place.shown()

    @property
    def root(self) -> Path:
        """The folder of this machine that it is in.

        Raises:
            StoreError: it is in none.
        """
        if isinstance(self.place, LocalFolder):
            return self.place.root
        raise StoreError(
            f"{self} is in no folder of this machine. Read it with Store.state, or copy results to a folder: linescape "
            "store export, then import."
        )

    @property
    def address(self) -> str:
        """The absolute path or the address, with which another process opens it; a path may need `os.fsencode`.

        Raises:
            StoreError: no other process can, as it is in this one's memory.
        """
        return self.place.address()

    def exists(self) -> bool:
        """Whether anything was ever written to it."""
        try:
            return bool(self.place.read(MARK))
        except FileNotFoundError:
            return False

    def where(self, task: Task) -> str:
        """The address of the folder of a task's files, for messages."""
        return self.place.shown(folder_of(task))

    def folder(self, task: Task) -> Path:
        """The folder of a task's files, also if there is none yet.

        Raises:
            StoreError: the store is in no folder of this machine.
        """
        return self.root / folder_of(task)

    def file(self, moment: Moment) -> str:
        """The name in the store of the checkpoint file of a state of a training."""
        task, name = state_file(moment)
        return f"{folder_of(task)}/{name}"

    def path(self, moment: Moment) -> Path:
        """The checkpoint file of a state of a training, as `checkpoints.read` takes it.

        Raises:
            StoreError: the store is in no folder of this machine.
        """
        return self.root / self.file(moment)

    # -- what is finished ---------------------------------------------------------------------------------------

    def save(self, task: Task, files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        """Write the result of a task of any kind, and remove what was half done of it.

        Args:
            task: the task.
            files: the content of its files by name, of letters with the end json, safetensors or parquet.
            record: what ``done.json`` is to hold besides checksums.

        Raises:
            StoreError: the folder cannot be written; what was there stays.
        """
        if not self.place.claims_last and self.has(task):
            return  # another process did it while this one had lost its claim
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        noted = {**record, "files": checksums}
        if earlier := self.damaged.get(task):
            noted["remarks"] = [f"was done again: {earlier}", *record.get("remarks", ())]
        durable = task.maker in self._continued or record.get("seconds", FLUSHED) >= FLUSHED
        self.put(
            task, {TASK: encode_task(task), **files}, checksums, encode_record(key_of(task), noted), durable=durable
        )
        folder = folder_of(task)
        points = (f"{folder}/{POINTS}/{name}" for name in self.place.names(f"{folder}/{POINTS}"))
        self.place.delete(f"{folder}/{SNAPSHOT}", f"{folder}/{FAILED}", *points)
        self.place.delete_empty(f"{folder}/{POINTS}")

    def save_training(
        self, task: Train, start: State, end: Checkpoint, rows: Sequence[Row], record: Mapping[str, Any]
    ) -> None:
        """Write a finished training.

        Args:
            task: the training.
            start: its theta_0.
            end: its last checkpoint.
            rows: its log, see `LOG`.
            record: what ``done.json`` is to hold besides checksums.

        Raises:
            StoreError: the folder cannot be written; what was there stays.
        """
        files = {
            "start.safetensors": encode_state(start, task.recipe),
            "end.safetensors": encode_state(end.state, task.recipe),
            "optimizer.safetensors": encode_with_note(end.optimizer, {"step": end.step}),
            "log.parquet": encode_log(rows),
        }
        self.save(task, files, {**record, "moves": encode_moves(moves(start, end.state))})

    def save_state(self, task: Keep, now: Checkpoint, record: Mapping[str, Any]) -> None:
        """Write a state within a training.

        Raises:
            StoreError: the folder cannot be written; what was there stays.
        """
        files = {
            "state.safetensors": encode_state(now.state, task.recipe),
            "optimizer.safetensors": encode_with_note(now.optimizer, {"step": now.step}),
        }
        self.save(task, files, record)

    def save_curve(self, task: Scan, curve: Curve, record: Mapping[str, Any]) -> None:
        """Write a finished walk.

        Raises:
            StoreError: the folder cannot be written; what was there stays.
        """
        self.save(task, {"curve.safetensors": curve.to_bytes()}, record)

    def decline(self, task: Task, reason: str, record: Mapping[str, Any]) -> None:
        """Settle a task that cannot be done, so that it is not tried again.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.save(task, {}, {**record, "declined": reason})

    def put(
        self,
        task: Task,
        files: Mapping[str, bytes],
        checksums: Mapping[str, str],
        record: bytes,
        *,
        durable: bool = True,
    ) -> None:
        """Write a settled result.

        Args:
            task: the task.
            files: the content of its files by name.
            checksums: of the files that the record lists.
            record: the content of ``done.json``, which is written last.
            durable: wait until it survives a power failure, and so does what it was made from.

        Raises:
            StoreError: the folder cannot be written; it is not settled then.
        """
        self._mark()
        self._flushed.discard(task)
        folder = folder_of(task)
        written = {
            name: self.place.write(f"{folder}/{name}", content, durable=False) for name, content in files.items()
        }
        for each in in_order([task]) if durable else ():  # what is made again may have other last bits than it had
            if each not in self._flushed:
                self.place.flush(folder_of(each))
                self._flushed.add(each)
        known = {name: signature for name in checksums if (signature := written[name])}
        if len(known) < len(checksums):
            present = self.place.signatures(folder)
            known |= {name: found for name in checksums if (found := present.get(name)) and self.place.is_steady(found)}
        if len(known) == len(checksums):
            self._note(task, checksums, known)
        self.place.write(f"{folder}/{DONE}", record, durable=durable)
        self._verified.pop(task, None)
        self._doubted.discard(task)
        self.damaged.pop(task, None)

    def note_failure(self, task: Task, reason: str) -> None:
        """Note why a task failed, for who watches the run; it stays until the task is done.

        Raises:
            StoreError: the folder cannot be written.
        """
        content = json.dumps({"task": key_of(task), "reason": reason}).encode()
        self.place.write(f"{folder_of(task)}/{FAILED}", content, durable=False)

    # -- work in progress ---------------------------------------------------------------------------------------

    def half_done(self, task: Task, conditions: Mapping[str, Any]) -> HalfDone:
        """What is there of a task that is about to be done.

        Args:
            task: the task.
            conditions: what it is computed with, in JSON's types.

        Raises:
            StoreError: the store cannot be written.
        """
        self._mark()  # a store in which only something half done is must be known as one
        if {SNAPSHOT, POINTS} & {*self.place.names(folder_of(task))}:  # whose time the record will not have
            self._continued.add(task.maker)
        return HalfDone(self.place, folder_of(task), {"task": key_of(task), **conditions})

    @contextmanager
    def claim(self, task: Task, part: tuple[int, int] | None = None, wait: bool = False) -> Iterator[bool]:
        """Lock a task against other processes on this store; yields whether this process got the lock.

        A training and the states within it have one lock, since one process makes all of them. Parts of a walk do not
        exclude each other, but each excludes the whole. In a folder of this machine the lock is the system's, else a
        lease: see `places.leases`.

        Args:
            task: the task that is about to be done.
            part: of a walk that is cut into parts: (k, n), the k-th of n.
            wait: wait for another process that has the lock, instead of giving up at once.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._mark()
        with self.place.claim(lock_of(folder_of(task)), "-".join(map(str, part)) if part else "", wait) as claimed:
            yield claimed

    # -- bytes --------------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        if not self.exists():
            self.place.write(MARK, json.dumps({"format": FORMAT}).encode())


_REPAIR = f'write {{"format": {FORMAT}}} to it.'


def _check_mark(place: Place) -> None:
    """Raise `StoreError` if a place is none of results, or of a newer linescape."""
    try:
        mark = _mark_of(place)
        written = FORMAT if mark is None else json.loads(mark)["format"]
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{place.shown(MARK)} is damaged. If this is a folder of results, {_REPAIR}") from error
    if written != FORMAT:
        raise StoreError(
            f"{place.shown()} was written in format {written}, but this linescape knows format {FORMAT}. Use the "
            "linescape that wrote it, or name another folder."
        )


def _mark_of(place: Place) -> bytes | None:
    """What marks a folder of results; None of a new or an empty one."""
    for _ in range(2):  # between reading and listing another process may make the folder: it writes the mark first
        try:
            return place.read(MARK)
        except FileNotFoundError:
            if all(name.startswith(".") for name in place.names()):
                return None
    raise StoreError(
        f"{place.shown()} is not empty and has no linescape.json, so it is no folder of results. Nothing was changed. "
        f"Name a new or empty folder. If it is one that lost this file, {_REPAIR}"
    )
