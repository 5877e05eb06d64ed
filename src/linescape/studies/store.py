"""The one file that knows file names: results on disk, by what they are results of.

    ROOT/linescape.json          marks the folder
    ROOT/train/KEY/task.json     what was done, as a recipe in words
                   start.safetensors, end.safetensors, optimizer.safetensors, log.parquet
                   done.json     written last: the key, checksums, what computed it, seconds
                   resume.safetensors          while it trains
    ROOT/train/KEY/step-100/, epoch-3/         states within it: task.json, state.safetensors, optimizer.safetensors,
                   done.json; resume.safetensors  while it is not known whether it is the training's
    ROOT/scan/KEY/task.json, curve.safetensors, done.json
                  points/ALPHA.safetensors     while it walks

KEY is the task's key, so equal tasks share a result. Each file is written under another name and renamed, so a kill, a
full disk or a second process never leaves half a file. All of it is checked when it is read: a result that is damaged
counts as none, so that it is made again; a half-done task begins anew where what it left is damaged. Nothing in a store
is ever run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import msgspec
import polars as pl

from linescape import atomic
from linescape.errors import DamagedError, StoreError
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import Recipe
from linescape.studies.encoding import (
    LOG,
    Row,
    decode_log,
    decode_record,
    decode_state,
    encode_log,
    encode_record,
    encode_state,
    recipe_of,
)
from linescape.studies.half_done import HalfDone
from linescape.studies.study import Keep, Moment, Scan, Task, Train
from linescape.tensor_file import decode_with_note, encode_with_note
from linescape.training.loop import Checkpoint

__all__ = ["FORMAT", "LOG", "Row", "Store", "recipe_of"]

FORMAT = 1

_DAMAGES = (errno.ENOENT, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
"""Failures to read that mean that a file is not there any more; others, such as missing permission, may pass."""


class Store:
    """A folder of results.

    Args:
        root: the folder; it is made on the first write.

    Attributes:
        damaged: the results that were found damaged, and why; they count as missing.

    Raises:
        StoreError: it is a file, a folder of something else, or of a newer linescape.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.damaged: dict[Task, str] = {}
        self._checked: dict[Task, dict[str, tuple[int, int]]] = {}
        mark = self.root / "linescape.json"
        try:
            atomic.check_name(self.root)
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"{self.root} is a file. Results need a folder: name another.")
            if mark.exists():
                written = json.loads(atomic.read(mark))["format"]
                if written != FORMAT:
                    raise StoreError(
                        f"{self.root} was written in format {written}, but this linescape knows format {FORMAT}. Use "
                        "the linescape that wrote it, or name another folder."
                    )
            elif self.root.is_dir() and any(not path.name.startswith(".") for path in self.root.iterdir()):
                raise StoreError(
                    f"{self.root} is not empty and has no linescape.json, so it is no folder of results. Nothing was "
                    "changed. Name a new or empty folder. If it is one that lost this file, write "
                    f'{{"format": {FORMAT}}} to it.'
                )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedError(
                f'{mark} is damaged. If this is a folder of results, write {{"format": {FORMAT}}} to it.'
            ) from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise atomic.cannot_read(self.root, error) from error

    def folder(self, task: Task) -> Path:
        """The folder of a task's files, also if there is none yet."""
        if isinstance(task, Keep):
            return self.folder(Train(task.recipe)) / f"{task.moment.at}-{task.moment.number}"
        return self.root / ("train" if isinstance(task, Train) else "scan") / _key(task)

    def path(self, moment: Moment) -> Path:
        """The checkpoint file of a state of a training, as `checkpoints.read` takes it."""
        task, name = _file(moment)
        return self.folder(task) / name

    # -- what is done -------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether anything was ever written to it."""
        return (self.root / "linescape.json").exists()

    def has(self, task: Task) -> bool:
        """Whether a task is settled, done or declined, and its files are what was written: else it is to be done again.

        All bytes are read the first time, and again when a file has changed. `damaged` says what was found.

        Raises:
            StoreError: the files cannot be read, which may pass.
        """
        try:
            files = self._files(task)
            if "done.json" not in files:
                return False
            if self._checked.get(task) != files:
                record = self.record(task)
                for name in record["files"]:
                    self._bytes(task, name, record)
                self._checked[task] = files
                self.damaged.pop(task, None)  # another process has done it again
        except DamagedError as error:
            self.damaged[task] = str(error)
            return False
        return True

    def tasks(self) -> Iterator[Task]:
        """Every task with a record, as its ``task.json`` has it, whatever study it is of; unreadable ones are left out.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            for done in (*self.root.glob("*/*/done.json"), *self.root.glob("train/*/*/done.json")):
                with suppress(msgspec.DecodeError, FileNotFoundError, RecursionError):
                    yield msgspec.json.decode(atomic.read(done.with_name("task.json")), type=Task)
        except OSError as error:
            raise atomic.cannot_read(self.root, error) from error

    def record(self, task: Task) -> dict[str, Any]:
        """The content of a settled task's ``done.json``: ``finished``, ``seconds``, ``device``, ``versions``, ...

        Raises:
            StoreError: the task is not settled, or the file is damaged or of another task.
        """
        if not (self.folder(task) / "done.json").exists():
            raise StoreError(f"{self.root} has no result for {_words(task)} yet. Run its study first.")
        content = self._content(task, "done.json")
        try:
            record = decode_record(content, _key(task))
            if "task" not in record and (other := self._written_key(task)) != _key(task):
                raise ValueError(f"its task.json is that of another task, {other}")
            if not all(isinstance(sum_, str) for sum_ in record["files"].values()):
                raise ValueError("it lists no checksums")
        except (ValueError, LookupError, AttributeError, RecursionError) as error:
            raise self._damaged(task, "done.json", error) from error
        return record

    def declined(self, task: Task) -> str | None:
        """Why a settled task cannot be done, such as that the training it starts from diverged; None if it was done."""
        reason = self.record(task).get("declined")
        return None if reason is None else str(reason)

    def diverged(self, recipe: Recipe) -> bool:
        """Whether a finished training ended in NaN or infinity."""
        return bool(self.record(Train(recipe)).get("diverged", False))

    # -- results ------------------------------------------------------------------------------------------------

    def state(self, moment: Moment) -> State:
        """A state of a training.

        Raises:
            StoreError: the training, or this state of it, is not done yet, was declined, or its file is damaged.
        """
        task, name = _file(moment)
        content = self._read(task, name)
        try:
            return decode_state(content)
        except (KeyError, ValueError, TypeError) as error:
            raise self._damaged(task, name, error) from error

    def checkpoint(self, moment: Moment) -> Checkpoint:
        """A state of a training other than its start, with its step and its optimizer's state.

        Raises:
            StoreError: as `state`; or a start, whose step and optimizer are not kept.
        """
        task, _ = _file(moment)
        if moment.at == "start":
            raise StoreError(f"Of the start of {_words(task)} only the state is kept. Ask for a later moment.")
        tensors, note = decode_with_note(self._read(task, "optimizer.safetensors"))
        return Checkpoint(self.state(moment), int(note["step"]), tensors)

    def kept(self, recipe: Recipe) -> tuple[Keep, ...]:
        """The states within a training that are there, whoever asked for them."""
        names = sorted(path.name for path in self.folder(Train(recipe)).glob("*-*"))
        matches = [match for name in names if (match := re.fullmatch("(step|epoch)-([1-9][0-9]*)", name))]
        keeps = [Keep(Moment(recipe, "step" if match[1] == "step" else "epoch", int(match[2]))) for match in matches]
        return tuple(keep for keep in keeps if self.has(keep) and self.declined(keep) is None)

    def log(self, recipe: Recipe) -> pl.DataFrame:
        """A training's log, with the columns of `LOG`.

        Raises:
            StoreError: as `state`.
        """
        return decode_log(self._read(Train(recipe), "log.parquet"))

    def curve(self, scan: Scan) -> Curve:
        """The curve of a line.

        Raises:
            StoreError: the line is not walked yet, was declined, or its file is damaged.
        """
        content = self._read(scan, "curve.safetensors")
        try:
            return Curve.from_bytes(content)
        except (KeyError, ValueError) as error:
            raise self._damaged(scan, "curve.safetensors", error) from error

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
        self._settle(task, files, record)
        self._drop(self.folder(task) / "resume.safetensors")

    def save_state(self, task: Keep, now: Checkpoint, record: Mapping[str, Any]) -> None:
        """Write a state within a training.

        Raises:
            StoreError: the folder cannot be written; what was there stays.
        """
        files = {
            "state.safetensors": encode_state(now.state, task.recipe),
            "optimizer.safetensors": encode_with_note(now.optimizer, {"step": now.step}),
        }
        self._settle(task, files, record)
        self._drop(self.folder(task) / "resume.safetensors")

    def save_curve(self, task: Scan, curve: Curve, record: Mapping[str, Any]) -> None:
        """Write a finished walk.

        Raises:
            StoreError: the folder cannot be written; what was there stays.
        """
        self._settle(task, {"curve.safetensors": curve.to_bytes()}, record)
        self._drop(*(self.folder(task) / "points").glob("*"))

    def decline(self, task: Task, reason: str, record: Mapping[str, Any]) -> None:
        """Settle a task that cannot be done, so that it is not tried again.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._settle(task, {}, {**record, "declined": reason})

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
        folder = self.folder(task)
        return HalfDone(folder / "resume.safetensors", folder / "points", {"task": _key(task), **conditions})

    @contextmanager
    def claim(self, task: Task, part: tuple[int, int] | None = None) -> Iterator[bool]:
        """Lock a task against other processes on this store; yields whether this process got the lock.

        A training and the states within it have one lock, since one process makes all of them. Parts of a walk do not
        exclude each other, but each excludes the whole: both take their own lock first and then look for the other's,
        so that at least one of them sees the other.

        Args:
            task: the task that is about to be done.
            part: of a walk that is cut into parts: (k, n), the k-th of n.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = self.folder(Train(task.recipe) if isinstance(task, Keep) else task)
        with ExitStack() as held:
            try:
                self._mark()
                folder.mkdir(parents=True, exist_ok=True)
                if part is None:
                    for path in (folder / ".lock", *folder.glob(".lock-*")):
                        held.enter_context(filelock.FileLock(path, blocking=False))
                    # Files that killed processes were writing.
                    self._drop(*folder.glob(f".*{atomic.SUFFIX}*"), *folder.glob(f"*/.*{atomic.SUFFIX}*"))
                else:
                    held.enter_context(filelock.FileLock(folder / f".lock-{part[0]}-{part[1]}", blocking=False))
                    with filelock.FileLock(folder / ".lock", timeout=0.5, poll_interval=0.02):
                        pass  # another part only looks, too
            except filelock.Timeout:
                held.close()
                yield False
                return
            except (OSError, NotImplementedError) as error:
                if isinstance(error, StoreError):
                    raise
                cause = error if isinstance(error, OSError) else OSError(str(error))
                raise atomic.cannot_write(folder, cause) from error
            yield True

    # -- bytes --------------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        mark = self.root / "linescape.json"
        if not mark.exists():
            atomic.write(mark, json.dumps({"format": FORMAT}).encode())

    def _settle(self, task: Task, files: Mapping[str, bytes], record: Mapping[str, Any]) -> None:
        self._mark()
        folder = self.folder(task)
        atomic.write(folder / "task.json", msgspec.json.format(msgspec.json.encode(task), indent=1))
        for name, content in files.items():
            atomic.write(folder / name, content)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        noted = {**record, "files": sums}
        if earlier := self.damaged.pop(task, None):
            noted["remarks"] = [f"was done again: {earlier}", *record.get("remarks", ())]
        atomic.write(folder / "done.json", encode_record(_key(task), noted))

    def _read(self, task: Task, name: str) -> bytes:
        record = self.record(task)
        if "declined" in record:
            raise StoreError(f"There is no result for {_words(task)}: {record['declined']}")
        return self._bytes(task, name, record)

    def _bytes(self, task: Task, name: str, record: Mapping[str, Any]) -> bytes:
        content = self._content(task, name)
        if hashlib.sha256(content).hexdigest() != record["files"].get(name):
            raise self._damaged(task, name, ValueError("its checksum is not the one that was noted"))
        return content

    def _content(self, task: Task, name: str) -> bytes:
        path = self.folder(task) / name
        try:
            return atomic.read(path)
        except OSError as error:
            if error.errno in _DAMAGES:
                raise self._damaged(task, name, error) from error
            raise atomic.cannot_read(path, error) from error

    def _files(self, task: Task) -> dict[str, tuple[int, int]]:
        """Times and sizes of a task's files by name: where these are as they were, so is the content."""
        folder = self.folder(task)
        try:
            found = [path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".parquet")]
            present = [path for path in found if path.exists()]  # not links to nothing
            return {path.name: ((about := path.stat()).st_mtime_ns, about.st_size) for path in present}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise atomic.cannot_read(folder, error) from error

    def _written_key(self, task: Task) -> str:
        """The key of the task in ``task.json``; the task's own where that is unreadable, since it is only words."""
        with suppress(OSError, msgspec.DecodeError, RecursionError):
            written: Task = msgspec.json.decode(atomic.read(self.folder(task) / "task.json"), type=Task)
            return written.key
        return _key(task)

    def _damaged(self, task: Task, name: str, error: Exception) -> DamagedError:
        self._checked.pop(task, None)
        reason = error.strerror or error if isinstance(error, OSError) else error
        return DamagedError(
            f"{self.folder(task) / name} is damaged ({reason}), so there is no result for {_words(task)}. Run the "
            "study again, which does that task anew."
        )

    def _drop(self, *paths: Path) -> None:
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # a file that stays only takes up space


@cache
def _key(task: Task) -> str:
    return task.key  # computing the hash takes long, and it is needed many times


def _file(moment: Moment) -> tuple[Train | Keep, str]:
    """The task that makes a state, and the name of its file."""
    if moment.at in ("start", "end"):
        return Train(moment.recipe), f"{moment.at}.safetensors"
    return Keep(moment), "state.safetensors"


def _words(task: Task) -> str:
    if isinstance(task, Keep):
        return f"the state after {task.moment} of the training {_key(Train(task.recipe))}"
    return f"the {'training' if isinstance(task, Train) else 'line'} {_key(task)}"
