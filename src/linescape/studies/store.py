"""The one file that knows file names: results on disk, by what they are results of.

    ROOT/linescape.json          marks the folder
    ROOT/train/KEY/task.json     what was done, as a recipe in words
                   start.safetensors, end.safetensors, optimizer.safetensors, log.parquet
                   done.json     written last: checksums, versions, device, seconds
                   resume.safetensors          while it trains
    ROOT/scan/KEY/task.json, curve.safetensors, done.json
                  points/ALPHA.safetensors     while it walks

KEY is the task's key, so equal tasks share a result. Each file is written under another name and renamed, so a kill, a
full disk or a second process never leaves half a file. Nothing in a store is ever run.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import msgspec
import polars as pl
from torch import Tensor

from linescape import atomic
from linescape.errors import DamagedError, StoreError
from linescape.geometry.state import State
from linescape.interpolation import resume as points
from linescape.interpolation.curve import Curve, Point
from linescape.recipe import Recipe
from linescape.studies.study import Moment, Scan, Task, Train
from linescape.tensor_file import decode_with_note, encode_with_note, read_note
from linescape.training.loop import Checkpoint

FORMAT = 1

LOG = pl.Schema(
    {
        "epoch": pl.Int64,
        "train_loss": pl.Float64,
        "train_error": pl.Float64,
        "test_loss": pl.Float64,
        "test_error": pl.Float64,
        "lr": pl.Float64,
        "seconds": pl.Float64,
    }
)
"""A training's log, a row an epoch. Losses in nats, errors in %; null is not measured, NaN is not a number.

The training columns are means over the epoch as met in training. A diverged training's last row has a loss that is
NaN or infinite, and fewer rows may precede it than the recipe has epochs.
"""

Row = Mapping[str, float | int | None]


class Store:
    """A folder of results.

    Args:
        root: the folder; it is made on the first write.

    Raises:
        StoreError: it is a file, a folder of something else, or of a newer linescape.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        mark = self.root / "linescape.json"
        try:
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"{self.root} is a file. Results need a folder: name another.")
            if mark.exists():
                written = json.loads(mark.read_bytes())["format"]
                if written != FORMAT:
                    raise StoreError(
                        f"{self.root} was written in format {written}, but this linescape knows format {FORMAT}. Use "
                        "the linescape that wrote it, or name another folder."
                    )
            elif self.root.is_dir() and any(not path.name.startswith(".") for path in self.root.iterdir()):
                raise StoreError(
                    f"{self.root} is not empty and has no linescape.json, so it is no folder of results. Nothing was "
                    "changed. Name a new or empty folder."
                )
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f'{mark} is damaged. If this is a folder of results, write {{"format": {FORMAT}}} to it.'
            ) from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{self.root} cannot be read: {error}. Check its permissions, or name another.") from error

    def folder(self, task: Task) -> Path:
        """The folder of a task's files, also if there is none yet."""
        return self.root / ("train" if isinstance(task, Train) else "scan") / _key(task)

    def path(self, moment: Moment) -> Path:
        """The checkpoint file of a training's start or end, as `checkpoints.read` takes it."""
        return self.folder(Train(moment.recipe)) / f"{moment.at}.safetensors"

    # -- what is done -------------------------------------------------------------------------------------------

    def has(self, task: Task) -> bool:
        """Whether a task is settled: done, or declined."""
        return (self.folder(task) / "done.json").exists()

    def record(self, task: Task) -> dict[str, Any]:
        """The content of a settled task's ``done.json``: ``finished``, ``seconds``, ``device``, ``versions``, ...

        Raises:
            StoreError: the task is not settled, or the file is damaged.
        """
        path = self.folder(task) / "done.json"
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise StoreError(f"{self.root} has no result for {_words(task)} yet. Run its study first.") from error
        except (OSError, ValueError) as error:
            raise self._damaged(task, "done.json", error) from error
        if not isinstance(record, dict):
            raise self._damaged(task, "done.json", ValueError("it holds no fields"))
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
        """A training's start or end.

        Raises:
            StoreError: the training is not done yet, was declined, or its file is damaged.
        """
        return self._state(Train(moment.recipe), f"{moment.at}.safetensors")

    def trained(self, recipe: Recipe) -> Checkpoint:
        """A training's end with its optimizer's state, for a later training that starts from it.

        Raises:
            StoreError: as `state`.
        """
        task = Train(recipe)
        tensors, note = decode_with_note(self._read(task, "optimizer.safetensors"))
        return Checkpoint(self.state(Moment(recipe)), int(note["step"]), tensors)

    def log(self, recipe: Recipe) -> pl.DataFrame:
        """A training's log, with the columns of `LOG`.

        Raises:
            StoreError: as `state`.
        """
        return pl.read_parquet(io.BytesIO(self._read(Train(recipe), "log.parquet")))

    def curve(self, scan: Scan) -> Curve:
        """The curve of a line.

        Raises:
            StoreError: the line is not walked yet, was declined, or its file is damaged.
        """
        self._read(scan, "curve.safetensors")
        return Curve.load(self.folder(scan) / "curve.safetensors")

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
        frame, log = pl.DataFrame([dict(row) for row in rows], schema=LOG), io.BytesIO()
        frame.write_parquet(log)
        files = {
            "start.safetensors": _encode_state(start, task.recipe),
            "end.safetensors": _encode_state(end.state, task.recipe),
            "optimizer.safetensors": encode_with_note(end.optimizer, {"step": end.step}),
            "log.parquet": log.getvalue(),
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

    def resume(self, task: Train) -> tuple[Checkpoint, list[Row]] | None:
        """The last snapshot of a training with its log; None if there is none that can be used.

        One that is damaged cannot, nor one of before `Optimizer.native`, whose convolutions depended on the machine: a
        training must not be computed in two ways.
        """
        try:
            tensors, note = decode_with_note((self.folder(task) / "resume.safetensors").read_bytes())
            if note["native"] != task.recipe.optimizer.native:
                return None
            state = _state(
                {name.removeprefix("state/"): tensors[name] for name in tensors if "state/" in name[:6]}, note
            )
            optimizer = {
                name.removeprefix("optimizer/"): tensors[name] for name in tensors if "optimizer/" in name[:10]
            }
            counts = {name: note[name] for name in ("step", "loss_sum", "wrong", "seen")}
            return Checkpoint(state, optimizer=optimizer, **counts), note["rows"]
        except (OSError, KeyError, ValueError, TypeError):
            return None  # a snapshot only saves time

    def save_resume(self, task: Train, now: Checkpoint, rows: Sequence[Row]) -> None:
        """Write a snapshot of a training, in place of the last one.

        Raises:
            StoreError: the folder cannot be written.
        """
        tensors = {f"state/{name}": value for name, value in now.state.items()}
        tensors |= {f"optimizer/{name}": value for name, value in now.optimizer.items()}
        counts = {"step": now.step, "loss_sum": now.loss_sum, "wrong": now.wrong, "seen": now.seen}
        note = {**_roles(now.state), **counts, "rows": list(rows), "native": task.recipe.optimizer.native}
        atomic.write(self.folder(task) / "resume.safetensors", encode_with_note(tensors, note), durable=False)

    def points(self, task: Scan) -> list[Point]:
        """The points of a walk so far, without damaged ones, which are then measured again."""
        return points.read(self.folder(task) / "points")

    def save_point(self, task: Scan, point: Point) -> None:
        """Write one point of a walk.

        Raises:
            StoreError: the folder cannot be written.
        """
        points.keep(self.folder(task) / "points", point)

    @contextmanager
    def claim(self, task: Task, wait: bool = False) -> Iterator[bool]:
        """Lock a task against other processes on this store; yields whether this process got the lock.

        Args:
            task: the task that is about to be done.
            wait: wait for another process that has the lock, instead of giving up at once.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = self.folder(task)
        try:
            self._mark()
            folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(folder / ".lock")
            lock.acquire(blocking=wait)
        except filelock.Timeout:
            yield False
            return
        except (OSError, NotImplementedError) as error:
            if isinstance(error, StoreError):
                raise
            raise atomic.cannot_write(folder, error if isinstance(error, OSError) else OSError(str(error))) from error
        try:
            # Files that killed processes were writing.
            self._drop(*folder.glob(f".*{atomic.SUFFIX}*"), *folder.glob(f"points/.*{atomic.SUFFIX}*"))
            yield True
        finally:
            lock.release()

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
        atomic.write(folder / "done.json", json.dumps({**record, "files": sums}, indent=1).encode())

    def _read(self, task: Task, name: str) -> bytes:
        record = self.record(task)
        if "declined" in record:
            raise StoreError(f"There is no result for {_words(task)}: {record['declined']}")
        try:
            content = (self.folder(task) / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != record["files"][name]:
                raise ValueError("its checksum is not the one that was noted")
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise self._damaged(task, name, error) from error
        return content

    def _state(self, task: Train, name: str) -> State:
        content = self._read(task, name)
        try:
            return _state(*decode_with_note(content))
        except (KeyError, ValueError, TypeError) as error:
            raise self._damaged(task, name, error) from error

    def _damaged(self, task: Task, name: str, error: Exception) -> DamagedError:
        folder = self.folder(task)
        return DamagedError(
            f"{folder / name} is damaged ({error}), so there is no result for {_words(task)}. Delete {folder} and run "
            "the study again, which does only that task anew."
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


def _words(task: Task) -> str:
    return f"the {'training' if isinstance(task, Train) else 'line'} {_key(task)}"


def _roles(state: State) -> dict[str, Any]:
    return {"buffers": list(state.buffers), "tied": dict(state.tied), "order": list(state)}


def _state(tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> State:
    buffers = set(note["buffers"])
    parameters = {name: tensors[name] for name in note["order"] if name not in buffers}
    return State(parameters, {name: tensors[name] for name in note["buffers"]}, note["tied"])


def recipe_of(metadata: Mapping[str, str]) -> Recipe | None:
    """The recipe of a store's checkpoint, from the file's metadata; None if it is not from a store."""
    try:
        return msgspec.convert(read_note(metadata)["recipe"], Recipe)
    except (KeyError, ValueError, TypeError, msgspec.ValidationError):
        return None


def _encode_state(state: State, recipe: Recipe) -> bytes:
    return encode_with_note(state, {**_roles(state), "recipe": msgspec.to_builtins(recipe)})
