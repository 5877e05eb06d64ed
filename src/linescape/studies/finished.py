"""Reads what is finished in a store. All of it is checked, so a result that is damaged counts as none.

The content of a file is compared with its checksum each time it is read. Whether a result is there is asked far more
often, and of checkpoints that nobody reads: for that its record is read, and ``verified.json``, which has the sizes and
times of its files when all their bytes were right. Where these are others now, or it is missing, all bytes are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import numpy as np
import polars as pl

from linescape.errors import DamagedError, LinescapeError, StoreError
from linescape.geometry.moved import Move, moves
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import Moment, Recipe
from linescape.studies.encoding import decode_log, decode_moves, decode_record, decode_state, encode_record, encode_task
from linescape.studies.layout import DONE, TASK, VERIFIED, folder_of, kept_state, key_of, state_file, words
from linescape.studies.measurements import Measurement, Turning
from linescape.studies.places import Place, Signature
from linescape.studies.tasks import Keep, Scan, Task, Train, any_task
from linescape.tensor_file import decode_sealed, decode_with_note
from linescape.training.loop import Checkpoint


class Finished:
    """The finished results of a place.

    Args:
        place: where they lie.

    Attributes:
        damaged: the results that were found damaged, and why; they count as missing.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.damaged: dict[Task, str] = {}
        self._verified: dict[Task, dict[str, Signature]] = {}
        self._doubted: set[Task] = set()
        self._records: dict[Task, dict[str, Any]] | None = None

    # -- what is done -------------------------------------------------------------------------------------------

    def has(self, task: Task) -> bool:
        """Whether a task is settled, done or declined, and its files are what was written: else it is to be done again.

        All bytes are read where the sizes or times of the files are not those that were noted when all were right.
        `damaged` says what was found.

        Raises:
            StoreError: the files cannot be read, which may pass.
        """
        present = self.place.signatures(folder_of(task))
        if DONE not in present:
            return False
        if _known(self._verified.get(task), present):
            return True
        try:
            if self._records:
                self._records.pop(task, None)  # it may be another by now
            record = self.record(task)
            verified = {} if task in self._doubted else self._noted(task, record["files"])
            if not _known(verified, present, record["files"]):
                self.verify(task)
                verified = {name: present[name] for name in record["files"] if name in present}
                if len(verified) == len(record["files"]) and all(map(self.place.is_steady, verified.values())):
                    self._note(task, record["files"], verified)
        except StoreError as error:
            if not self.has_record(folder_of(task)):
                return False  # it was removed meanwhile
            if not isinstance(error, DamagedError):
                raise
            self.damaged[task] = str(error)
            return False
        self.damaged.pop(task, None)  # another process has done it again
        self._doubted.discard(task)
        self._verified[task] = {name: present[name] for name in (DONE, TASK, *verified) if name in present}
        if TASK not in present:
            with suppress(StoreError):  # only words, for people and for who lists the store
                self.place.write(f"{folder_of(task)}/{TASK}", encode_task(task), durable=False)
        return True

    def has_record(self, folder: str) -> bool:
        """Whether a folder of a result has a record now, good or damaged: another process may have removed it.

        Raises:
            StoreError: the folder cannot be read.
        """
        return DONE in self.place.signatures(folder)

    def verify(self, task: Task) -> None:
        """Read all bytes of a settled task's result, whatever was noted.

        Raises:
            DamagedError: they are not what was written.
            StoreError: the task is not settled, or the files cannot be read, which may pass.
        """
        record = self.record(task)
        for name in record["files"]:
            self._bytes(task, name, record)

    def listed(self) -> Iterator[tuple[str, Task | str]]:
        """Every folder with a record, and its task as ``task.json`` has it; or why that is not known.

        Raises:
            StoreError: the store cannot be read.
        """
        for name in sorted(self.place.signatures(deep=True)):
            if not name.endswith(f"/{DONE}"):
                continue
            folder, words_of_it = name.removesuffix(f"/{DONE}"), f"{name.removesuffix(DONE)}{TASK}"
            try:
                task: Task = msgspec.json.decode(self.place.read(words_of_it), type=any_task())
                if folder_of(task) != folder:
                    raise ValueError(f"it is of {words(task)}")
            except StoreError:
                raise
            except (OSError, ValueError, LinescapeError, RecursionError) as error:
                if not self.has_record(folder):
                    continue  # it was removed meanwhile
                yield (
                    folder,
                    f"{self.place.shown(words_of_it)} does not say what the result beside it is of: {error}. Remove "
                    "that file and run its study again, which writes it anew.",
                )
            else:
                yield folder, task

    def tasks(self) -> Iterator[Task]:
        """Every task with a record, whatever study it is of; those whose ``task.json`` is damaged are left out.

        Raises:
            StoreError: the store cannot be read.
        """
        return (task for _, task in self.listed() if not isinstance(task, str))

    def record(self, task: Task) -> dict[str, Any]:
        """The content of a settled task's ``done.json``: ``finished``, ``seconds``, ``device``, ``versions``, ...

        Raises:
            StoreError: the task is not settled, or the file is damaged or of another task.
        """
        if self._records is None:
            return self._record(task)
        if task not in self._records:
            self._records[task] = self._record(task)
        return self._records[task]

    @contextmanager
    def each_record_once(self) -> Iterator[None]:
        """Within it, each record is read once: for who asks much of a few results at one moment, as a report does."""
        self._records, before = {}, self._records
        try:
            yield
        finally:
            self._records = before

    def declined(self, task: Task) -> str | None:
        """Why a settled task cannot be done, such as that the training it starts from diverged; None if it was done."""
        reason = self.record(task).get("declined")
        return None if reason is None else str(reason)

    def diverged(self, recipe: Recipe) -> bool:
        """Whether a finished training ended in NaN or infinity."""
        return bool(self.record(Train(recipe)).get("diverged", False))

    def kept(self, recipe: Recipe) -> tuple[Keep, ...]:
        """The states within a training that are there, whoever asked for them."""
        folders = self.place.names(folder_of(Train(recipe)))
        keeps = [keep for folder in folders if (keep := kept_state(recipe, folder))]
        return tuple(keep for keep in keeps if self.has(keep) and self.declined(keep) is None)

    # -- results ------------------------------------------------------------------------------------------------

    def read(self, task: Task, name: str) -> bytes:
        """A file of a result of any kind, compared with its checksum.

        Raises:
            StoreError: the task is not done yet, was declined, or the file is damaged.
        """
        record = self.record(task)
        if "declined" in record:
            raise StoreError(f"There is no result for {words(task)}: {record['declined']}")
        return self._bytes(task, name, record)

    def state(self, moment: Moment) -> State:
        """A state of a training.

        Raises:
            StoreError: the training, or this state of it, is not done yet, was declined, or its file is damaged.
        """
        task, name = state_file(moment)
        content = self.read(task, name)
        try:
            return decode_state(content)
        except (KeyError, ValueError, TypeError) as error:
            raise self._damaged(task, name, error) from error

    def checkpoint(self, moment: Moment) -> Checkpoint:
        """A state of a training other than its start, with its step and its optimizer's state.

        Raises:
            StoreError: as `state`; or a start, whose step and optimizer are not kept.
        """
        task, _ = state_file(moment)
        if moment.at == "start":
            raise StoreError(f"Of the start of {words(task)} only the state is kept. Ask for a later moment.")
        tensors, note = decode_with_note(self.read(task, "optimizer.safetensors"))
        return Checkpoint(self.state(moment), int(note["step"]), tensors)

    def moves(self, recipe: Recipe) -> dict[str, Move]:
        """How far a finished training moved each parameter, by its name.

        It is in the record of the training, so that no checkpoint is read; older records lack it.

        Raises:
            StoreError: as `state`.
        """
        task = Train(recipe)
        noted = self.record(task).get("moves")
        if noted is None:
            return moves(self.state(Moment(recipe, "start")), self.state(Moment(recipe)))
        try:
            return decode_moves(noted)
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged(task, DONE, error) from error

    def log(self, recipe: Recipe) -> pl.DataFrame:
        """A training's log, with the columns of `LOG`.

        Raises:
            StoreError: as `state`.
        """
        return decode_log(self.read(Train(recipe), "log.parquet"))

    def curve(self, scan: Scan) -> Curve:
        """The curve of a line.

        Raises:
            StoreError: the line is not walked yet, was declined, or its file is damaged.
        """
        content = self.read(scan, "curve.safetensors")
        try:
            return Curve.from_bytes(content)
        except (KeyError, ValueError) as error:
            raise self._damaged(scan, "curve.safetensors", error) from error

    def measured(self, task: Measurement) -> Any:
        """What was measured: an object of `Measurement.form`.

        Raises:
            StoreError: it is not measured yet, was declined, or its file is damaged.
        """
        content = self.read(task, task.file)
        try:
            return task.form.from_bytes(content)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(task, task.file, error) from error

    def logits(self, task: Turning) -> np.ndarray:
        """The logits of the first examples along a line ``(alphas, examples, classes)``.

        Raises:
            StoreError: as `measured`.
        """
        content = self.read(task, "logits.safetensors")
        try:
            return decode_sealed(content)[0]["logits"].numpy()
        except (LookupError, TypeError, ValueError) as error:
            raise self._damaged(task, "logits.safetensors", error) from error

    def contents(self, task: Task) -> tuple[dict[str, bytes], dict[str, str], bytes]:
        """A settled result as it is written: its files, ``task.json`` among them, their checksums, and its record.

        Raises:
            DamagedError: it is not what was written.
            StoreError: the task is not settled, or the files cannot be read, which may pass.
        """
        record = self.record(task)
        files = {name: self._bytes(task, name, record) for name in record["files"]}
        return {TASK: self._content(task, TASK), **files}, record["files"], self._content(task, DONE)

    # -- bytes --------------------------------------------------------------------------------------------------

    def _record(self, task: Task) -> dict[str, Any]:
        content = self._content(task, DONE)
        try:
            record = decode_record(content, key_of(task))
            if "task" not in record and (other := self._written_key(task)) != key_of(task):
                raise ValueError(f"its task.json is that of another task, {other}")
            for name, checksum in record["files"].items():
                if not isinstance(checksum, str):
                    raise ValueError("it lists no checksums")
                if "/" in name or "\\" in name or name in ("", ".", "..", DONE):
                    raise ValueError(f"it lists {name!r}, which is no file of this result")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise self._damaged(task, DONE, error) from error
        return record

    def _bytes(self, task: Task, name: str, record: Mapping[str, Any]) -> bytes:
        content = self._content(task, name)
        if hashlib.sha256(content).hexdigest() != record["files"].get(name):
            raise self._damaged(task, name, ValueError("its checksum is not the one that was noted"))
        return content

    def _content(self, task: Task, name: str) -> bytes:
        try:
            return self.place.read(f"{folder_of(task)}/{name}")
        except StoreError:
            raise
        except OSError as error:
            if name == DONE and isinstance(error, FileNotFoundError):
                raise StoreError(
                    f"{self.place.shown()} has no result for {words(task)} yet. Run its study first."
                ) from error
            raise self._damaged(task, name, error) from error

    def _written_key(self, task: Task) -> str:
        """The key of the task in ``task.json``; the task's own where that is unreadable, since it is only words."""
        with suppress(OSError, msgspec.DecodeError, RecursionError):
            written: Task = msgspec.json.decode(self.place.read(f"{folder_of(task)}/{TASK}"), type=any_task())
            return written.key
        return key_of(task)

    def _damaged(self, task: Task, name: str, error: Exception) -> DamagedError:
        self._verified.pop(task, None)
        if self._records:
            self._records.pop(task, None)
        self._doubted.add(task)  # where the note cannot be removed
        self.place.delete(f"{folder_of(task)}/{VERIFIED}")  # other processes read all bytes again, too
        reason = error.strerror or error if isinstance(error, OSError) else error
        return DamagedError(
            f"{self.place.shown(f'{folder_of(task)}/{name}')} is damaged ({reason}), so there is no result for "
            f"{words(task)}. Run the study again, which does that task anew."
        )

    # -- what was verified --------------------------------------------------------------------------------------

    def _noted(self, task: Task, checksums: Mapping[str, str]) -> dict[str, Signature]:
        """The signatures in ``verified.json`` of files with these checksums; none where it is missing or damaged."""
        try:
            note = decode_record(self.place.read(f"{folder_of(task)}/{VERIFIED}"), key_of(task))
            if note["checksums"] == checksums:
                return {name: tuple(signature) for name, signature in note["signatures"].items()}
        except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
            pass
        return {}

    def _note(self, task: Task, checksums: Mapping[str, str], signatures: Mapping[str, Signature]) -> None:
        """Remember, also for other processes, how files look whose bytes have these checksums."""
        note = {"checksums": dict(checksums), "signatures": dict(signatures)}
        with suppress(StoreError):  # it only saves time
            self.place.write(f"{folder_of(task)}/{VERIFIED}", encode_record(key_of(task), note), durable=False)


def _known(
    verified: Mapping[str, Signature] | None, present: Mapping[str, Signature], names: Collection[str] = ()
) -> bool:
    """Whether the files that are there, and these among them, look as they did when their bytes were right."""
    if verified is None or any(name not in verified for name in names):
        return False
    return all(present.get(name) == signature for name, signature in verified.items())
