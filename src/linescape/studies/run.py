"""Does many tasks: what is missing of a study, nothing twice, on all cores.

A killed run goes on from the last kept step or point, with the same result. Several processes may work on one store:
each takes the tasks that no other holds, and helpers for the other cores are just such processes. A task that fails
does not stop the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from threading import Thread

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from linescape.engine import threads
from linescape.errors import DamagedError, LinescapeError, StoreError
from linescape.studies.execute import Report, do
from linescape.studies.planning import Plan, duration, plan
from linescape.studies.store import Store
from linescape.studies.study import Scan, Study, Task, Train, in_order

__all__ = ["Outcome", "Plan", "do", "plan", "work"]

ALONE_SECONDS = 3.0
"""Work that is done within this time is not worth starting helpers, each of which first imports torch."""


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        done: tasks that were done since it began, those declined not among them.
        before: tasks that were settled already.
        declined: tasks that cannot be done, with the reason; they count as settled.
        failed: tasks that raised an error, with its message; they are tried again by the next run.
        seconds: time it took.
    """

    done: int = 0
    before: int = 0
    declined: dict[Task, str] = field(default_factory=dict)
    failed: dict[Task, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{self.done} tasks done in {duration(self.seconds)}, {self.before} were done before"]
        for what, found in (("could not be done", self.declined), ("failed; the next run tries again", self.failed)):
            by_reason: dict[str, list[Task]] = {}
            for task, reason in found.items():
                by_reason.setdefault(reason.strip(), []).append(task)
            for reason, tasks in by_reason.items():
                more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
                lines.append(f"{words(tasks[0])}{more} {what}: {reason}")
        return "\n".join(lines)


def words(task: Task) -> str:
    """A task in a few words, such as ``walk fc of ResNet on fashion-mini, seed 0``."""
    recipe = task.recipe if isinstance(task, Train) else task.end.recipe
    kind = "train" if isinstance(task, Train) else f"walk {task.block or 'the whole line'} of"
    return f"{kind} {type(recipe.model).__name__} on {recipe.data.name}, seed {recipe.seed}"


def work(
    tasks: Study | Iterable[Task],
    store: Store,
    device: str = "cpu",
    progress: bool = True,
    workers: int | None = None,
) -> Outcome:
    """Do what is missing of these tasks and of all that they need.

    Args:
        tasks: a study, or any tasks.
        store: where results are and go.
        device: where to train and to measure.
        progress: draw bars on standard error, with the time left.
        workers: processes, this one among them; by default as many as there are cores, and one on a GPU.

    Raises:
        StoreError: the store cannot be written, which would stop all further tasks too.
    """
    begun = time.perf_counter()
    wanted = in_order(tasks.tasks() if isinstance(tasks, Study) else tasks)
    unsettled = missing = [task for task in wanted if not store.has(task)]
    failed: dict[Task, str] = {}
    count = min(workers or threads.cores(device), len(missing))
    with _Helpers(count - 1, store, device, missing) as helpers, _Bars(progress, missing, len(wanted), count) as bars:

        def report(share: float) -> None:
            helpers.call()
            bars.report(share)

        while missing:
            elsewhere, idle = [], True
            for task in missing:
                broken = next((need for need in task.needs() if need in failed), None)
                if broken is not None:
                    failed[task] = f"It needs the task {broken.key}, which failed."
                elif all(store.has(need) for need in task.needs()):
                    with store.claim(task) as held:
                        if not held:
                            elsewhere.append(task)
                        elif not store.has(task):
                            idle = False
                            bars.begin(task)
                            reason = _failure(task, store, device, report)
                            if reason is not None:
                                failed[task] = reason
                            bars.end(task, [task for task in missing if task not in failed and not store.has(task)])
            if elsewhere and idle:  # nothing to do but wait for another process, or its death
                with store.claim(elsewhere[0], wait=True):
                    pass
            missing = [task for task in missing if task not in failed and not store.has(task)]
    settled = [task for task in unsettled if task not in failed]
    declined = {task: reason for task in settled if (reason := store.declined(task)) is not None}
    return Outcome(
        done=len(settled) - len(declined),
        before=len(wanted) - len(unsettled),
        declined=declined,
        failed=failed,
        seconds=time.perf_counter() - begun,
    )


def _failure(task: Task, store: Store, device: str, report: Report) -> str | None:
    """Do a task; what went wrong, if it did not."""
    try:
        do(task, store, device, report)
    except DamagedError as error:
        return str(error)
    except StoreError:
        raise
    except LinescapeError as error:
        return str(error)
    except Exception:  # whatever one task meets, the night's other tasks go on
        return traceback.format_exc()
    return None


class _Helpers(AbstractContextManager["_Helpers"]):
    """Other processes that work on the same tasks; they end with this one, however it ends."""

    def __init__(self, count: int, store: Store, device: str, tasks: list[Task]) -> None:
        self.count = count
        self.message = msgspec.json.encode((str(store.root.absolute()), device, tasks)) + b"\n"
        self.begun = time.perf_counter()
        self.running: list[subprocess.Popen[bytes]] = []

    def call(self) -> None:
        """Start them, once this process has been at it for a while."""
        if self.count < 1 or self.running or time.perf_counter() - self.begun < ALONE_SECONDS:
            return
        command = [sys.executable, "-c", "from linescape.studies.run import help_out; help_out()"]
        for _ in range(self.count):
            # A session of their own: Ctrl-C reaches this process, which then ends them.
            helper = subprocess.Popen(  # noqa: S603 - our own interpreter and text
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.running.append(helper)
            assert helper.stdin is not None
            with suppress(BrokenPipeError):  # it died at once; this process goes on without it
                helper.stdin.write(self.message)
                helper.stdin.flush()

    def __exit__(self, *_: object) -> None:
        for helper in self.running:
            helper.kill()
        for helper in self.running:
            helper.communicate()


def help_out() -> None:
    """What a helper runs: it is told the tasks on standard input, and stays while that is open."""
    line = sys.stdin.buffer.readline()
    root, device, tasks = msgspec.json.decode(line, type=tuple[str, str, tuple[Train | Scan, ...]])

    def leave() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    Thread(target=leave, daemon=True).start()
    work(tasks, Store(root), device, progress=False, workers=1)


class _Bars(AbstractContextManager["_Bars"]):
    """A bar over all tasks with the time left, and one over the present task."""

    def __init__(self, shown: bool, missing: list[Task], total: int, workers: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
        )
        shown = shown and bool(missing)
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
        self.all = self.bars.add_task("all", total=total, completed=total - len(missing), note="")
        self.one = self.bars.add_task("now", total=1.0, note="")
        self.total, self.workers, self.begun = total, max(workers, 1), 0.0
        self.took: dict[type[Task], list[float]] = {Train: [], Scan: []}

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def begin(self, task: Task) -> None:
        """A task begins."""
        self.begun = time.perf_counter()
        self.bars.update(self.one, completed=0.0, note=words(task))

    def report(self, share: float) -> None:
        """So much of the present task is done."""
        self.bars.update(self.one, completed=share)

    def end(self, task: Task, left: list[Task]) -> None:
        """The present task ends, well or not, and these are left, whoever did the others."""
        self.took[type(task)].append(time.perf_counter() - self.begun)
        # Tasks of a kind take alike on average; before the first of a kind there is nothing to say.
        counts = Counter(type(task) for task in left)
        known = all(self.took[kind] for kind in counts)
        seconds = sum(n * sum(self.took[kind]) / len(self.took[kind]) for kind, n in counts.items()) if known else 0.0
        note = f"{duration(seconds / self.workers)} left" if known else ""
        self.bars.update(self.all, completed=self.total - len(left), note=note)
