"""Does many tasks: those of a study that are missing, each once, on all cores, or wherever an executor takes them.

A run that was killed continues from the last saved step or point, with the same result. A result that is damaged or
disappears is made again. Several processes may work on one store: each takes the tasks that no other has claimed. A
task that fails does not stop the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from linescape.errors import RecipeError, plural
from linescape.recipe import user_code
from linescape.studies.bars import Bars
from linescape.studies.executors import Executor, Local
from linescape.studies.ordering import FEW, ranks
from linescape.studies.own_code import changed_code
from linescape.studies.planning import counted, duration
from linescape.studies.resources import parts
from linescape.studies.schedule import Schedule
from linescape.studies.store import Store
from linescape.studies.study import Study, every_task
from linescape.studies.tasks import Task, describe


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
        lines = [f"{plural(self.done, 'task')} done in {duration(self.seconds)}, {self.before} were done before"]
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


def work(
    tasks: Study | Iterable[Task],
    store: Store,
    device: str = "cpu",
    progress: bool = True,
    workers: int | None = None,
    executor: Executor | None = None,
) -> RunSummary:
    """Do the tasks that are missing among these and all that they need.

    Those that fail are told on standard error, and are in the result.

    Args:
        tasks: a study, or any tasks.
        store: where results are read and written.
        device: where to train and to measure.
        progress: draw progress bars with the time left on standard error.
        workers: number of processes, including this one; by default one for each core, or one for each GPU.
        executor: where it is done, see `linescape.studies.executors`; by default these processes.

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
    executor = executor or Local(workers)
    wanted = every_task(tasks)
    count = executor.capacity(device)
    if count > FEW:
        seconds = counted(wanted, store, device)
        wanted = tuple(ranks({task: seconds.get(task, 0.0) for task in wanted}, count))
    schedule = Schedule(wanted, store, count, lambda task: parts(task, device))
    missing = schedule.open()
    with Bars(progress, schedule.opened, len(wanted), min(count, len(schedule.opened)), store, device) as bars:
        schedule.watch = bars
        for sentence in changed_code(wanted, store) if missing else ():
            bars.say(sentence)
        while missing:
            executor.run(schedule, store, device)
            if schedule.stopped is not None:
                raise schedule.stopped
            missing = schedule.open()  # some may have disappeared
    failed, settled = schedule.failed, [task for task in schedule.opened if task not in schedule.failed]
    if failed:
        bars.say(_reasons(failed, "failed; the next run tries again"))
    records = {task: store.record(task) for task in settled}
    declined = {task: str(record["declined"]) for task, record in records.items() if "declined" in record}
    return RunSummary(
        done=len(settled) - len(declined),
        before=len(wanted) - len(schedule.opened),
        declined=declined,
        failed=failed,
        remarks={task: "; ".join(record["remarks"]) for task, record in records.items() if "remarks" in record},
        seconds=time.perf_counter() - started,
    )
