"""What a study will cost before it is run: number of tasks, time, disk space, and the data sets that are missing.

No data are read: sizes follow from what is known of each set, times from `linescape.studies.timing`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from linescape.data import sets
from linescape.engine.threads import cores
from linescape.errors import CheckpointError, LinescapeError
from linescape.recipe import Weights
from linescape.studies.costs import approximate, cost_of
from linescape.studies.kinds.kind import NOTHING
from linescape.studies.kinds.state import asked_of_trainings
from linescape.studies.ordering import makespan
from linescape.studies.store import Store
from linescape.studies.study import Study, every_task
from linescape.studies.tasks import Keep, Scan, Task, Train
from linescape.studies.timing import Timer, Workload
from linescape.studies.workloads import Cost, approximate_call, describe
from linescape.training import weight_files

JOINING = 7.0
"""Seconds until helpers join: `work` starts them only after a while, and each imports torch."""

BUDGET = 30.0
"""Seconds after which no further network is timed; the others are estimated from the operations of those alike."""

SCALED, UNTIMED = "up to 1.6 times too long", "each by 0.5 to 2 times its time"
"""How far off such estimates were (docs/command-line.md)."""

_NOTABLE = 1.15
"""Factor of slowing down from which on the plan mentions it."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """The tasks of a study, and how many of them are missing.

    Attributes:
        trainings: number of all trainings; `missing_trainings` of them are not done.
        scans: number of all lines; `missing_scans` of them are not measured.
        states: number of all states within trainings; `missing_states` of them are not kept.
        others: number of tasks of all other kinds; `missing_others` of them are not done.
    """

    trainings: int
    missing_trainings: int
    scans: int
    missing_scans: int
    states: int
    missing_states: int
    others: int = 0
    missing_others: int = 0

    def __str__(self) -> str:
        if not self.missing:
            others = f" and {self.others} other tasks" if self.others else ""
            return f"{self.trainings} trainings and {self.scans} lines{others}, all done"
        words = (
            f"{self.missing_trainings} of {self.trainings} trainings and {self.missing_scans} of {self.scans} lines "
            "to do, shared ones counted once"
        )
        if self.missing_states:
            words += f", and {self.missing_states} of {self.states} states within trainings to keep"
        if self.missing_others:
            words += f", and {self.missing_others} of {self.others} other tasks"
        return words

    @property
    def missing(self) -> int:
        """The number of all tasks that are missing."""
        return self.missing_trainings + self.missing_scans + self.missing_states + self.missing_others


@dataclasses.dataclass(frozen=True)
class Plan(Counts):
    """The tasks of a study, and what the missing ones cost.

    Attributes:
        core_seconds: estimated sum of the times of the missing ones, each on one core, or on the GPU.
        seconds: estimated time of all of them in parallel.
        processes: number of parallel processes that `work` would use.
        bytes: estimated disk space of their results.
        absent: data sets and weights that they need and that are missing, each with the command that gets it.
        scaled: networks that were timed on fewer examples than they will be run on.
        repeated: number of finished trainings that are repeated in part, for states within them that were not kept.
        repeat_seconds: estimated sum of the times of that, which is part of `core_seconds`.
        untimed: share of `core_seconds` that follows from counted operations, as there was no time to time it.
        slowed: factor by which other programs that use the cores slow everything down at present.
    """

    core_seconds: float = 0.0
    seconds: float = 0.0
    processes: int = 1
    bytes: int = 0
    absent: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    repeated: int = 0
    repeat_seconds: float = 0.0
    untimed: float = 0.0
    slowed: float = 1.0

    def __str__(self) -> str:
        return "\n".join(filter(None, [super().__str__(), self.estimate]))

    @property
    def estimate(self) -> str:
        """Time and disk space of the missing tasks, in words; empty where none is missing."""
        if not self.missing:
            return ""
        disk = f"{self.bytes / 1e9:.1f} GB" if self.bytes >= 1e9 else f"{max(self.bytes, 1e6) / 1e6:.0f} MB"
        times = f"{duration(self.core_seconds)} of computing"
        if self.processes > 1:
            times += f", {duration(self.seconds)} with {self.processes} processes in parallel"
        lines = [f"About {times}, and {disk} of disk space"]
        if self.repeated:
            lines.append(
                f"{self.repeated} finished trainings kept no such state, and are repeated up to there: about "
                f"{duration(self.repeat_seconds)} of that computing"
            )
        if self.slowed > _NOTABLE:
            lines.append(f"Other programs use the cores now: while they run, it takes {self.slowed:.1f} times as long")
        if self.scaled:
            lines.append(f"Timed on few examples and scaled to the whole batch, {SCALED}: {', '.join(self.scaled)}")
        if self.untimed:
            lines.append(f"Not timed but estimated from counted operations, {UNTIMED}: {self.untimed:.0%} of all")
        return "\n".join([*lines, *(f"Not here yet: {what}" for what in self.absent)])


def count(tasks: Study | Iterable[Task], store: Store) -> Counts:
    """Count the tasks, and those that are missing; nothing is timed."""
    wanted = every_task(tasks)
    return _count(wanted, [task for task in wanted if not store.has(task)])


def _count(wanted: Sequence[Task], missing: Sequence[Task]) -> Counts:
    every, lacking = (Counter(type(task) for task in some) for some in (wanted, missing))
    return Counts(
        *(every.pop(Train, 0), lacking.pop(Train, 0)),
        *(every.pop(Scan, 0), lacking.pop(Scan, 0)),
        *(every.pop(Keep, 0), lacking.pop(Keep, 0)),
        *(every.total(), lacking.total()),
    )


def plan(
    tasks: Study | Iterable[Task],
    store: Store,
    device: str = "cpu",
    workers: int | None = None,
    report: Callable[[int, int, str], object] = lambda *_: None,
) -> Plan:
    """Count the missing tasks, time a few steps and measurements of each of their networks, and multiply.

    Args:
        tasks: a study, or any tasks.
        store: where results are.
        device: the device that is timed.
        workers: number of processes, as in `linescape.studies.run.work`.
        report: called before each timing with its number, that of all, and what is timed.

    Raises:
        RecipeError: a recipe is impossible.
        DataError: a fraction of the data is too small for one batch.
    """
    wanted = every_task(tasks)
    missing = [task for task in wanted if not store.has(task)]
    processes = max(1, min(workers or cores(device), len(missing)))
    asked = asked_of_trainings(missing, store, device)
    costs = {task: cost_of(task, device, asked) for task in missing}
    with Timer(device, processes - 1) as timer:
        timed = _timed(costs.values(), timer, report)
    times = {workload: _estimated(workload, timed) for cost in costs.values() for workload in cost.calls}
    seconds = {task: cost.seconds(times) for task, cost in costs.items()}
    total = sum(seconds.values())
    repeats = [seconds[state] for state in asked.steps if store.has(state.maker)]
    unknown = sum(cost.seconds({**times, **dict.fromkeys(timed, 0.0)}) - cost.fixed for cost in costs.values())
    return Plan(
        **dataclasses.asdict(_count(wanted, missing)),
        core_seconds=total,
        seconds=makespan(seconds, processes, JOINING),
        processes=processes,
        bytes=sum(cost.bytes for cost in costs.values()),
        absent=_absent(missing),
        scaled=_unique(workload for cost in costs.values() if cost.scaled for workload in cost.calls),
        repeated=len(repeats),
        repeat_seconds=sum(repeats),
        untimed=unknown / total if total else 0.0,
        slowed=timer.wall / timer.own if timer.own else 1.0,
    )


def counted(tasks: Sequence[Task], store: Store, device: str) -> dict[Task, float]:
    """The counted seconds of each task, none of one that is impossible, as will be said when it is tried."""
    asked = NOTHING
    with suppress(LinescapeError):
        asked = asked_of_trainings(tasks, store, device)
    seconds: dict[Task, float] = {}
    for task in tasks:
        with suppress(LinescapeError):
            seconds[task] = approximate(task, device, asked)
    return seconds


def duration(seconds: float) -> str:
    """A time in seconds, minutes, hours or days, whichever suits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _timed(costs: Iterable[Cost], timer: Timer, report: Callable[[int, int, str], object]) -> dict[Workload, float]:
    """Seconds of the workloads that are timed within `BUDGET`: one of each type of network, then the largest parts."""
    parts: defaultdict[Workload, float] = defaultdict(float)
    for cost in costs:
        for workload, number in cost.calls.items():
            parts[workload] += number * approximate_call(workload)
    ordered = sorted(parts, key=parts.__getitem__, reverse=True)
    kinds = {workload.kind: workload for workload in reversed(ordered)}.values()  # the first of each
    alike = {(workload.kind, type(workload.recipe.model)): workload for workload in reversed(ordered)}.values()
    ends = time.monotonic() + BUDGET
    timed: dict[Workload, float] = {}
    for workload in dict.fromkeys((*kinds, *alike, *ordered)):
        if workload in kinds or time.monotonic() < ends:
            report(len(timed), len(ordered), _words(workload))
            timed[workload] = timer.seconds(workload)
    return timed


def _estimated(workload: Workload, timed: Mapping[Workload, float]) -> float:
    """Seconds of a workload: as timed, or those of the most similar that was, by counted operations."""
    if workload in timed:
        return timed[workload]

    def unlike(other: Workload) -> tuple[bool, float]:
        ratio = approximate_call(other) / approximate_call(workload)
        return type(other.recipe.model) is not type(workload.recipe.model), abs(math.log(ratio))

    near = min((other for other in timed if other.kind == workload.kind), key=unlike)
    return timed[near] * approximate_call(workload) / approximate_call(near)


def _absent(tasks: Iterable[Task]) -> tuple[str, ...]:
    recipes = [task.recipe for task in tasks]
    names = dict.fromkeys(recipe.data.name for recipe in recipes if not recipe.data.own)
    files = dict.fromkeys(recipe.init.file for recipe in recipes if isinstance(recipe.init, Weights))
    return (
        *(f"the data set {name}. Get it with: linescape data get {name}" for name in names if not _has_data(name)),
        *(f"the weights {file}. Put them into {weight_files.folder()}" for file in files if not _has_weights(file)),
    )


def _has_data(name: str) -> bool:
    return sets.known(name).make is not None or sets.locate(name) is not None


def _has_weights(file: str) -> bool:
    try:
        weight_files.find(file)
    except CheckpointError:
        return False
    return True


def _unique(workloads: Iterable[Workload]) -> tuple[str, ...]:
    """The networks of these, each once."""
    return tuple(dict.fromkeys(describe(workload.recipe.model) for workload in workloads))


def _words(workload: Workload) -> str:
    what = f"a step of {workload.recipe.optimizer.batch_size}" if workload.kind == "step" else f"{workload.examples}"
    return f"{what} examples with {describe(workload.recipe.model)}"
