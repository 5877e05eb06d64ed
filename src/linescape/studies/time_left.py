"""How long a run still takes, from what it has done so far and the counted operations of what is left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from linescape.studies.schedule import Unit
from linescape.studies.tasks import Task

SURE = 1.0
"""Seconds of work before which nothing is said."""


@dataclass
class _Running:
    """A unit that is being done: since when, and its share at the first report, as it may go on, and at the last."""

    began: float
    before: float = 0.0
    share: float = 0.0


def expected(
    left: Mapping[type[Task], float], done: Mapping[type[Task], float], taken: Mapping[type[Task], float], rate: float
) -> float:
    """Seconds that what is left takes one process.

    Args:
        left: counted seconds of what is left of each kind.
        done: the same of what has ended.
        taken: seconds that this took.
        rate: seconds for each counted one of a kind of which nothing has ended.
    """
    rates = {kind: taken[kind] / done[kind] if done.get(kind) else rate for kind in left}
    return sum(rates[kind] * max(counted, 0.0) for kind, counted in left.items())


class TimeLeft:
    """The time that the tasks that are left take one process.

    A kind of task is as fast as those of it that have ended; before the first ends, as all that is done so far.
    One that is not counted, such as a state that a training passes, does not tell how fast others are.

    Args:
        counted: the tasks that are left, each with its `costs.approximate` seconds.
    """

    def __init__(self, counted: Mapping[Task, float]) -> None:
        self.counted = counted
        self.remaining = dict(counted)
        self.left: defaultdict[type[Task], float] = defaultdict(float)
        for task, seconds in counted.items():
            self.left[type(task)] += seconds
        self.done = dict.fromkeys(self.left, 0.0)  # counted, of units that have ended
        self.taken = dict.fromkeys(self.left, 0.0)  # by these
        self.running: dict[Unit, _Running] = {}

    def begin(self, unit: Unit) -> None:
        """A unit begins."""
        self.running[unit] = _Running(time.perf_counter())

    def report(self, unit: Unit, share: float) -> None:
        """This share of a unit is done."""
        running = self.running[unit]
        running.before, running.share = running.before if running.share else share, share

    def end(self, unit: Unit, done: bool) -> None:
        """A unit has ended."""
        running, counted = self.running.pop(unit), unit.share * self.counted.get(unit.task, 0.0)
        if counted and done:
            self.done[type(unit.task)] += counted * (1.0 - running.before * (running.before < 1.0))
            self.taken[type(unit.task)] += time.perf_counter() - running.began
            self._reduce(unit.task, counted)

    def settle(self, task: Task) -> None:
        """Nothing of a task is left, whoever did it."""
        self._reduce(task, self.remaining.get(task, 0.0))

    def seconds(self) -> float | None:
        """Seconds of all that is left; None where too little is done to tell."""
        done, taken, left = sum(self.done.values()), sum(self.taken.values()), dict(self.left)
        for unit, running in self.running.items():
            if running.share and (counted := unit.share * self.counted.get(unit.task, 0.0)):
                done += (running.share - running.before) * counted
                taken += time.perf_counter() - running.began
                left[type(unit.task)] -= running.share * counted
        if taken < SURE or done <= 0.0:
            return None
        return expected(left, self.done, self.taken, taken / done)

    def _reduce(self, task: Task, seconds: float) -> None:
        seconds = min(seconds, self.remaining.get(task, 0.0))
        self.left[type(task)] -= seconds
        if seconds:
            self.remaining[task] -= seconds
