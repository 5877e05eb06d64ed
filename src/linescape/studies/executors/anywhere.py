"""What all executors share: what they are, and the one function that does a unit of work in any process."""

from __future__ import annotations

import os
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch

from linescape.errors import DamagedError, LinescapeError, StoreError, first_line
from linescape.recipe.user_code import look_in, own_folders
from linescape.studies.doing import do
from linescape.studies.job import Report
from linescape.studies.schedule import Outcome, Schedule, Unit
from linescape.studies.store import Store
from linescape.studies.tasks import any_task, in_order


class Target(msgspec.Struct, frozen=True):
    """The store and the device of a run, as plain data.

    Attributes:
        address: what another process opens the store with; bytes, as a path need not be text.
        device: where to compute.
        folders: in which modules of the user's are found, the first to be looked in first.
    """

    address: bytes
    device: str
    folders: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, store: Store, device: str) -> Target:
        """Of this store."""
        return cls(os.fsencode(store.address), device, tuple(map(os.fsencode, own_folders())))

    def store(self) -> Store:
        """The store, opened in this process."""
        return Store(os.fsdecode(self.address))


class Executor(Protocol):
    """Does the units of a schedule, anywhere."""

    def capacity(self, device: str, /) -> int:
        """How many units it does at once, at most."""

    def run(self, schedule: Schedule, store: Store, device: str) -> None:
        """Take units that are ready as there is room for them, and settle each, until the schedule has ended.

        However it ends, by Ctrl-C too, nothing of it runs on.
        """


def message(unit: Unit, target: Target) -> bytes:
    """A unit for another process: a line of JSON."""
    return msgspec.json.encode((target, unit.task, unit.also, unit.part))


def answer(line: bytes) -> bytes:
    """Do the unit of a message; its outcome, as a line of JSON."""
    kinds = any_task()
    sent: Any = tuple[Target, kinds, tuple[kinds, ...], tuple[int, int] | None]  # type: ignore[valid-type]
    target, task, also, part = msgspec.json.decode(line, type=sent)
    for folder in reversed(target.folders):
        look_in(Path(os.fsdecode(folder)))
    return msgspec.json.encode(do_unit(Unit(task, also, part), _opened(target), target.device))


def outcome_of(line: bytes) -> Outcome:
    """The outcome in an answer."""
    return msgspec.json.decode(line, type=Outcome)


def killed(how: str) -> Outcome:
    """The outcome of a unit whose process ended."""
    return Outcome(
        "killed",
        f"The process that did it ended ({how}). Where that is signal 9, the system has most likely ended it for want "
        "of memory: do fewer at once (--workers), or use a machine with more memory.",
    )


@lru_cache(maxsize=1)
def _opened(target: Target) -> Store:
    return target.store()


def do_unit(unit: Unit, store: Store, device: str, report: Report = lambda _: None) -> Outcome:
    """Do a unit in this process, unless another has it or it is done.

    Args:
        unit: what to do.
        store: where its needs are read and its result is written.
        device: where to compute.
        report: called with the share that is done.
    """
    try:
        with store.claim(unit.task, unit.part) as claimed:
            if not claimed:
                return Outcome("elsewhere")
            if store.has(unit.task):
                return Outcome("done")
            outcome = _done(unit, store, device, report)
            if outcome.kind == "failed":
                store.note_failure(unit.task, outcome.reason)
            return outcome
    except StoreError as error:
        return Outcome("stop", str(error))


def _done(unit: Unit, store: Store, device: str, report: Report) -> Outcome:
    try:
        do(unit.task, store, device, report, unit.also, unit.part)
        return Outcome("done")
    except StoreError as error:
        needs_are_there = all(store.has(need) for need in in_order([unit.task])[:-1])
        lost = isinstance(error, DamagedError) or not needs_are_there  # which can be mended
        return Outcome("lost" if lost else "stop", str(error))
    except LinescapeError as error:
        return Outcome("failed", str(error))
    except Exception as error:  # an unexpected error in one task must not stop a run of many hours
        if not _for_want_of_memory(error):
            return Outcome("failed", traceback.format_exc())
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        what = "the GPU's memory" if "CUDA" in str(error) else "memory"
        return Outcome(
            "failed",
            f"There was not enough of {what} for it ({type(error).__name__}: {first_line(error)}). Do fewer at once "
            "(--workers), or use a machine with more memory; what was saved is continued.",
        )


def _for_want_of_memory(error: Exception) -> bool:
    words = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in words or "not enough memory" in words)
    )
