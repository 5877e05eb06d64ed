"""Does many tasks: those of a study that are missing, each once, on all cores.

A run that was killed continues from the last saved step or point, with the same result. A result that is damaged or
disappears is made again. Several processes may work on one store: each takes the tasks that no other has claimed, and
helpers for the other cores are such processes. A task that fails does not stop the others.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from linescape.engine import threads
from linescape.errors import DamagedError, LinescapeError, RecipeError, StoreError
from linescape.recipe import Recipe, title, user_code
from linescape.studies.costs import approximate
from linescape.studies.execute import do
from linescape.studies.job import Report
from linescape.studies.own_code import changed_code
from linescape.studies.planning import Plan, duration, plan, steps_to_states
from linescape.studies.processes import Processes, messages
from linescape.studies.store import Store
from linescape.studies.study import Keep, Scan, Study, Task, in_order
from linescape.studies.time_left import TimeLeft

__all__ = ["Plan", "RunSummary", "do", "plan", "work"]

ALONE_SECONDS = 3.0
"""Helpers are started only after this time, since each first imports torch."""

ATTEMPTS = 3
"""Times that a run does a task whose result is not there afterwards, or which lacks what it needs."""


@dataclass
class RunSummary:
    """The result of a run.

    Attributes:
        done: number of tasks that this run did, without those declined.
        before: number of tasks that were settled before.
        declined: tasks that cannot be done, with the reason; they count as settled.
        failed: tasks that raised an error, with its message; the next run tries them again.
        remarks: what befell tasks that are done all the same, such as that an earlier result was damaged.
        seconds: time that the run took.
    """

    done: int = 0
    before: int = 0
    declined: dict[Task, str] = field(default_factory=dict)
    failed: dict[Task, str] = field(default_factory=dict)
    remarks: dict[Task, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{self.done} tasks done in {duration(self.seconds)}, {self.before} were done before"]
        lines += [f"{describe(task)} {remark}" for task, remark in self.remarks.items()]
        lines += [_reasons(self.declined, "could not be done")] if self.declined else []
        lines += [_reasons(self.failed, "failed; the next run tries again")] if self.failed else []
        return "\n".join(lines)


def _reasons(reasons: Mapping[Task, str], what: str) -> str:
    """A line for each reason, with the tasks that it is of."""
    by_reason: dict[str, list[Task]] = {}
    for task, reason in reasons.items():
        by_reason.setdefault(reason.strip(), []).append(task)
    more = {reason: f" and {len(tasks) - 1} more" if len(tasks) > 1 else "" for reason, tasks in by_reason.items()}
    return "\n".join(f"{describe(tasks[0])}{more[reason]} {what}: {reason}" for reason, tasks in by_reason.items())


def _say(words: str) -> None:
    Console(stderr=True).print(words, markup=False, highlight=False, soft_wrap=True)


def describe(task: Task) -> str:
    """A task in a few words, such as ``walk fc of ResNet on fashion-mini, seed 0``."""
    recipe = task.end.recipe if isinstance(task, Scan) else task.recipe
    if isinstance(task, Keep):
        kind = f"keep {task.moment} of"
    else:
        kind = f"walk {task.block or 'the whole line'} of" if isinstance(task, Scan) else "train"
    return f"{kind} {title(recipe.model)} on {recipe.data.label}, seed {recipe.seed}"


def work(
    tasks: Study | Iterable[Task],
    store: Store,
    device: str = "cpu",
    progress: bool = True,
    workers: int | None = None,
) -> RunSummary:
    """Do the tasks that are missing among these and all that they need.

    Those that fail are told on standard error, and are in the result.

    Args:
        tasks: a study, or any tasks.
        store: where results are read and written.
        device: where to train and to measure.
        progress: draw progress bars with the time left on standard error.
        workers: number of processes, including this one; by default one for each core, and one on a GPU.

    Raises:
        StoreError: the store cannot be written, which would stop all further tasks too.
        RecipeError: it is called by a file of the user's that is only read for what it defines.
    """
    if user_code.is_loading():
        raise RecipeError(
            "A file does its study while it is only read for what it defines, which would do it again without end. "
            'Call work below `if __name__ == "__main__":`.'
        )
    started = time.perf_counter()
    wanted = in_order(tasks.tasks() if isinstance(tasks, Study) else tasks)
    missing = [task for task in wanted if not store.has(task)]
    for sentence in changed_code(wanted, store) if missing else ():
        _say(sentence)
    unsettled = dict.fromkeys(missing)
    attempts: Counter[Task] = Counter()
    failed: dict[Task, str] = {}
    within: dict[Recipe, list[Keep]] = {}
    for task in wanted:
        if isinstance(task, Keep):
            within.setdefault(task.recipe, []).append(task)
    count = min(workers or threads.cores(device), len(missing))
    with (
        _Helpers(count - 1, store, device, missing) as helpers,
        _Bars(progress, missing, len(wanted), count, store, device) as bars,
    ):

        def report(share: float) -> None:
            helpers.start_late()
            bars.report(share)

        while missing:
            elsewhere, idle = [], True
            for task in missing:
                failed_need = next((need for need in task.needs() if need in failed), None)
                if failed_need is not None:
                    failed[task] = f"It needs the task {failed_need.key}, which failed."
                elif all(store.has(need) for need in task.needs()):
                    with store.claim(task) as claimed:
                        if not claimed:
                            elsewhere.append(task)
                        elif not store.has(task):
                            idle = False
                            bars.begin(task)
                            attempts[task] += 1
                            also = () if isinstance(task, Scan) else within.get(task.recipe, ())
                            reason = _failure(task, store, device, report, also, last=attempts[task] == ATTEMPTS)
                            if reason is not None:
                                failed[task] = reason
                            bars.end(task, [task for task in missing if task not in failed and not store.has(task)])
            if elsewhere and idle:  # nothing to do but wait for another process, or its death
                waited = f"Waiting for another process, which has the task {elsewhere[0].key} in {store}."
                _say(waited)
                with store.claim(elsewhere[0], wait=True):
                    pass
            missing = [task for task in wanted if task not in failed and not store.has(task)]  # some may disappear
            unsettled |= dict.fromkeys(missing)
    settled = [task for task in unsettled if task not in failed]
    records = {task: store.record(task) for task in settled}
    if failed:
        _say(_reasons(failed, "failed; the next run tries again"))
    declined = {task: str(record["declined"]) for task, record in records.items() if "declined" in record}
    return RunSummary(
        done=len(settled) - len(declined),
        before=len(wanted) - len(unsettled),
        declined=declined,
        failed=failed,
        remarks={task: "; ".join(record["remarks"]) for task, record in records.items() if "remarks" in record},
        seconds=time.perf_counter() - started,
    )


def _failure(task: Task, store: Store, device: str, report: Report, also: Collection[Keep], last: bool) -> str | None:
    """Do a task; returns the error's message if it fails. None, too, if it is to be tried again (not at the `last`)."""
    try:
        do(task, store, device, report, also)
        reason = "its result was written and is not there"
    except StoreError as error:
        needs_are_there = all(store.has(need) for need in in_order([task])[:-1])
        if needs_are_there and not isinstance(error, DamagedError):
            raise
        reason = str(error)
    except LinescapeError as error:
        return str(error)
    except Exception:  # an unexpected error in one task must not stop a run of many hours
        return traceback.format_exc()
    if store.has(task) or not last:
        return None
    return f"It was done {ATTEMPTS} times in vain: {reason}. Check that nothing else changes {store}."


class _Helpers(Processes):
    """Other processes that work on the same tasks."""

    def __init__(self, count: int, store: Store, device: str, tasks: list[Task]) -> None:
        super().__init__("linescape.studies.run:help_out")
        self.count = count
        address = os.fsencode(store.address) if count > 0 else b""  # a path need not be text
        self.message = msgspec.json.encode((address, device, tasks))
        self.created = time.perf_counter()

    def start_late(self) -> None:
        """Start them, if they are not running and this process has worked for `ALONE_SECONDS`."""
        if self.count > 0 and not self.running and time.perf_counter() - self.created >= ALONE_SECONDS:
            self.start(self.count)
            self.send(self.message)


def help_out() -> None:
    """The function of a helper: does the tasks of the first message."""
    root, device, tasks = msgspec.json.decode(messages().get(), type=tuple[bytes, str, tuple[Task, ...]])
    work(tasks, Store(os.fsdecode(root)), device, progress=False, workers=1)


class _Bars(AbstractContextManager["_Bars"]):
    """A bar for all tasks, with the time left, and one for the present task."""

    def __init__(self, shown: bool, missing: list[Task], total: int, workers: int, store: Store, device: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        console = Console(stderr=True)
        shown = shown and bool(missing) and console.is_terminal
        self.bars = Progress(*columns, console=console, transient=True, disable=not shown)
        self.all = self.bars.add_task("all", total=total, completed=total - len(missing), note="")
        self.current = self.bars.add_task("now", total=1.0, note="")
        self.total, self.workers = total, max(workers, 1)
        self.left = TimeLeft(_counted(missing, store, device) if shown else {})
        self.task: Task | None = None

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def begin(self, task: Task) -> None:
        """Show a task that begins."""
        self.task = task
        self.left.begin()
        self.bars.update(self.current, completed=0.0, note=describe(task))

    def report(self, share: float) -> None:
        """Show the share of the present task that is done."""
        self.bars.update(self.current, completed=share)
        self.left.report(share)
        self._show_left(self.left.seconds(self.task))

    def end(self, task: Task, left: list[Task]) -> None:
        """Show that a task has ended, and how many are left; other processes may have done some."""
        self.left.end(task, left)
        self.bars.update(self.all, completed=self.total - len(left))
        self._show_left(self.left.seconds())

    def _show_left(self, seconds: float | None) -> None:
        note = "" if seconds is None else f"about {duration(seconds / self.workers)} left"
        self.bars.update(self.all, note=note)


def _counted(tasks: list[Task], store: Store, device: str) -> dict[Task, float]:
    """The counted seconds of each task, none of one that is impossible, as will be said when it is tried."""
    steps: Mapping[Keep, int] = {}
    with suppress(LinescapeError):
        steps = steps_to_states(tasks, store, device)
    counted: dict[Task, float] = {}
    for task in tasks:
        with suppress(LinescapeError):
            counted[task] = approximate(task, device, steps)
    return counted
