"""How far the run of a study is, seen from another process: what its store shows. Nothing is written.

A task runs while a process has its lock. Whether results are whole is not looked at, as that would read all of them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from linescape.errors import LinescapeError, StoreError
from linescape.studies.inventory import result_folders
from linescape.studies.layout import DONE, FAILED, POINTS, SNAPSHOT, folder_of, lock_of
from linescape.studies.places.place import LEASE, LOCK
from linescape.studies.planning import counted
from linescape.studies.store import Store
from linescape.studies.study import Study, every_task
from linescape.studies.tasks import Task
from linescape.studies.time_left import expected

SAMPLE = 30
"""Records of a kind of task whose times are read: enough to know how fast it is."""

Folders = Mapping[str, Collection[str]]
"""Folder of a task -> names of its files."""


@dataclass(frozen=True)
class Progress:
    """The state of a run at one moment; every task is in one of these.

    Attributes:
        done: tasks that are settled.
        running: tasks that a process has, with the share that is there of a walk, from 0 to 1; of others it is None.
        failed: tasks that failed when they were last tried, or that need one that did, with the reason.
        waiting: all others.
        begun: those of the waiting ones of which something is there: their process ended, or waits.
        seconds_left: about the time that is left, if as many run at once as now; None where nothing tells.
    """

    done: tuple[Task, ...] = ()
    running: Mapping[Task, float | None] = field(default_factory=dict)
    failed: Mapping[Task, str] = field(default_factory=dict)
    waiting: tuple[Task, ...] = ()
    begun: tuple[Task, ...] = ()
    seconds_left: float | None = None

    @property
    def total(self) -> int:
        """The number of all tasks."""
        return len(self.done) + len(self.running) + len(self.failed) + len(self.waiting)

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.running and not self.waiting


class Observer:
    """Looks at the tasks of a run.

    Args:
        tasks: a study, or any tasks.
        store: where they are done.
    """

    def __init__(self, tasks: Study | Iterable[Task], store: Store) -> None:
        self._tasks, self._store = every_task(tasks), store
        self._counted: dict[Task, float] = {}
        self._times: dict[Task, float] = {}

    def look(self) -> Progress:
        """The state now.

        Raises:
            StoreError: the store cannot be read.
        """
        folders = result_folders(self._store)
        done = tuple(task for task in self._tasks if DONE in folders.get(folder_of(task), ()))
        missing = dict.fromkeys(self._tasks)
        for task in done:
            del missing[task]
        running = self._running(missing, folders)
        failed = self._failed([task for task in missing if task not in running], folders)
        waiting = tuple(task for task in missing if task not in running and task not in failed)
        begun = tuple(task for task in waiting if _is_begun(folders.get(folder_of(task), ())))
        return Progress(done, running, failed, waiting, begun, self._left(done, running, waiting))

    def _running(self, missing: Collection[Task], folders: Folders) -> dict[Task, float | None]:
        """A state within a training runs where the training is done, and is repeated for it."""
        locks = dict.fromkeys(lock_of(folder_of(task)) for task in missing)
        lockable = (each for each in locks if any(name.startswith((LOCK, LEASE)) for name in folders.get(each, ())))
        claimed = {each for each in lockable if self._store.place.is_claimed(each)}
        own = (task for task in missing if task.maker == task or task.maker not in missing)
        return {task: _share(task, folders) for task in own if lock_of(folder_of(task)) in claimed}

    def _failed(self, tasks: Iterable[Task], folders: Folders) -> dict[Task, str]:
        """Tasks come after those that they need, so that one failure is passed on."""
        failed: dict[Task, str] = {}
        for task in tasks:
            if need := next((need for need in task.needs() if need in failed), None):
                failed[task] = f"It needs the task {need.key}, which failed."
            elif FAILED in folders.get(folder_of(task), ()) and (reason := self._reason(task)) is not None:
                failed[task] = reason
        return failed

    def _reason(self, task: Task) -> str | None:
        """Why a task failed; None where it has been done since the folders were listed."""
        try:
            return str(json.loads(self._store.place.read(f"{folder_of(task)}/{FAILED}"))["reason"])
        except FileNotFoundError:
            return None
        except StoreError:
            raise
        except (OSError, ValueError, LookupError, TypeError):
            return "What was noted of it is damaged."

    def _left(
        self, done: Iterable[Task], running: Mapping[Task, float | None], waiting: Collection[Task]
    ) -> float | None:
        """By the times of what is done, in proportion to the counted operations."""
        if not running:
            return None
        self._counted = self._counted or counted(self._tasks, self._store, "cpu")
        self._read_times(done)
        undone = {**dict.fromkeys(waiting), **running}
        left = _by_kind({task: self._counted.get(task, 0.0) * (1.0 - (share or 0.0)) for task, share in undone.items()})
        took, work = _by_kind(self._times), _by_kind({task: self._counted[task] for task in self._times})
        if not (known := sum(work.values())):
            return None
        return expected(left, work, took, sum(took.values()) / known) / len(running)

    def _read_times(self, done: Iterable[Task]) -> None:
        known = Counter(map(type, self._times))
        for task in done:
            if known[type(task)] >= SAMPLE or task in self._times or not self._counted.get(task):
                continue
            with suppress(LinescapeError, ValueError, TypeError):  # damaged; `store check` says so
                record = self._store.record(task)
                if "declined" not in record and "seconds" in record:
                    self._times[task] = float(record["seconds"])
                    known[type(task)] += 1


def _by_kind(seconds: Mapping[Task, float]) -> dict[type[Task], float]:
    """The sum over the tasks of each kind."""
    sums: defaultdict[type[Task], float] = defaultdict(float)
    for task, value in seconds.items():
        sums[type(task)] += value
    return dict(sums)


def _is_begun(names: Iterable[str]) -> bool:
    return any(name == SNAPSHOT or name.startswith(f"{POINTS}/") for name in names)


def _share(task: Task, folders: Folders) -> float | None:
    """The share of its pieces that is there; None of a task that is one piece."""
    points = [name for name in folders.get(folder_of(task), ()) if name.startswith(f"{POINTS}/")]
    return min(1.0, len(points) / task.pieces) if task.pieces > 1 else None
