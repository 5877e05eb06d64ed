"""How long a run still takes, from what it has done so far and the counted operations of what is left."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from linescape.studies.study import Keep, Scan, Task, Train

SURE = 1.0
"""Seconds of work before which nothing is said."""


class TimeLeft:
    """The time that the tasks that are left take one process.

    A kind of task is as fast as those of it that have ended; before the first ends, as all that is done so far.
    One that is not counted, such as a state that a training passes, does not tell how fast others are.

    Args:
        counted: the tasks that are left, each with its `costs.approximate` seconds.
    """

    def __init__(self, counted: Mapping[Task, float]) -> None:
        self.counted = counted
        self.left = self._by_kind(counted)
        self.done = dict.fromkeys(self.left, 0.0)  # counted, of tasks that have ended
        self.taken = dict.fromkeys(self.left, 0.0)  # by these
        self.began, self.before, self.share = 0.0, 0.0, 0.0  # of the present task; it may go on from an earlier share

    def begin(self) -> None:
        """A task begins."""
        self.began, self.before, self.share = time.perf_counter(), 0.0, 0.0

    def report(self, share: float) -> None:
        """This share of the present task is done."""
        self.before, self.share = self.before if self.share else share, share

    def end(self, task: Task, left: Collection[Task]) -> None:
        """That task ends, and these are left; other processes may have done some."""
        if counted := self.counted.get(task, 0.0):
            self.done[type(task)] += counted * (1.0 - self.before * (self.before < 1.0))
            self.taken[type(task)] += time.perf_counter() - self.began
        self.left = self._by_kind(left)

    def seconds(self, now: Task | None = None) -> float | None:
        """Seconds of all that is left; None where too little is done to tell.

        Args:
            now: the present task; None between two tasks.
        """
        done, taken, left = sum(self.done.values()), sum(self.taken.values()), dict(self.left)
        if now is not None and (counted := self.counted.get(now, 0.0)):
            done += (self.share - self.before) * counted
            taken += time.perf_counter() - self.began
            left[type(now)] -= self.share * counted
        if taken < SURE or done <= 0.0:
            return None
        rates = {kind: self.taken[kind] / self.done[kind] if self.done[kind] else taken / done for kind in left}
        return sum(rates[kind] * counted for kind, counted in left.items())

    def _by_kind(self, tasks: Collection[Task]) -> dict[type[Task], float]:
        kinds = (Train, Keep, Scan)
        return {kind: sum(self.counted.get(task, 0.0) for task in tasks if isinstance(task, kind)) for kind in kinds}
