"""Which work is ready: the graph of the tasks that are missing, and what has become of each. It computes nothing.

Executors take units of work that are ready, as they have room, and tell what came of each. It may be asked by several
threads. A task costs as much as it has needs, however many there are.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from threading import TIMEOUT_MAX, Condition
from typing import Literal, Protocol

import msgspec

from linescape.errors import StoreError
from linescape.studies.tasks import Task

ATTEMPTS = 3
"""Times that a run does a task whose result is not there afterwards, which lacks a need, or whose process dies."""

SOONEST, LATEST = 0.5, 8.0
"""Seconds after which it is looked whether another process still has a task: more each time, up to the latest."""


class Unit(msgspec.Struct, frozen=True):
    """What one process does at a time; plain data, so that it may go to another machine.

    Attributes:
        task: what is done.
        also: tasks that may be done on its way, such as the states that a training passes.
        part: of a task that is cut: (k, n) does the k-th of n parts; None does the whole task, which uses what parts
            did.
        share: how much of the task's work it is.
    """

    task: Task
    also: tuple[Task, ...] = ()
    part: tuple[int, int] | None = None
    share: float = 1.0


class Outcome(msgspec.Struct, frozen=True):
    """What came of a unit.

    Attributes:
        kind: ``done``; ``failed``; ``elsewhere``: another process has the task; ``lost``: what it needs, or its own
            result, is not there; ``killed``: its process ended; ``stop``: the store cannot be written.
        reason: in words, where it is not done.
    """

    kind: Literal["done", "failed", "elsewhere", "lost", "killed", "stop"]
    reason: str = ""


class Results(Protocol):
    """What is asked of a store."""

    def has(self, task: Task) -> bool:
        """Whether a task is settled."""

    def claim(self, task: Task, part: tuple[int, int] | None = None) -> AbstractContextManager[bool]:
        """Lock a task; gives whether this process got it."""


class Watch:
    """Receives the events of a run; this one ignores them."""

    def begin(self, unit: Unit) -> None:
        """A unit was handed out."""

    def report(self, unit: Unit, share: float) -> None:
        """So much of a unit is done, from 0 to 1."""

    def end(self, unit: Unit, done: bool) -> None:
        """A unit came back."""

    def settle(self, task: Task) -> None:
        """A task needs no more work: it is done, by this run or another, or failed."""

    def say(self, words: str) -> None:
        """Something that the user should know."""


class Schedule:
    """The tasks of a run.

    Args:
        tasks: all of them, each after those that it needs.
        store: says what is settled.
        workers: units that can be done at once.
        parts: into how many parts a task may be cut; always the same for the same task.

    Attributes:
        failed: tasks that failed, with the reason.
        opened: all tasks that were missing at some time, in order.
        stopped: why the run cannot go on, such as that the store cannot be written.
        watch: receives each event of the run, to show it.
    """

    def __init__(
        self, tasks: Sequence[Task], store: Results, workers: int = 1, parts: Callable[[Task], int] = lambda _: 1
    ) -> None:
        self.tasks, self.store, self.workers, self.watch = tasks, store, workers, Watch()
        self.failed: dict[Task, str] = {}
        self.opened: dict[Task, None] = {}
        self.stopped: StoreError | None = None
        self._parts_of = parts
        self._order = {task: number for number, task in enumerate(tasks)}
        self._makers = {task: task.maker for task in tasks}
        self._made: defaultdict[Task, list[Task]] = defaultdict(list)  # maker -> what it may do on its way
        for task, maker in self._makers.items():
            if maker != task:
                self._made[maker].append(task)
        self._attempts: Counter[tuple[Task, tuple[int, int] | None]] = Counter()
        self._said: set[Task] = set()
        self._changed = Condition()
        self._in_flight = 0
        self._clear()

    def _clear(self) -> None:
        self._closed = False
        self._missing: dict[Task, int] = {}  # with the number of its needs that are missing
        self._dependants: defaultdict[Task, list[Task]] = defaultdict(list)
        self._ready: list[int] = []  # a heap of places in the order
        self._parts: deque[Unit] = deque()  # of tasks that are cut, and ready
        self._cut: dict[Task, int] = {}  # tasks that are cut, with the number of parts to do
        self._busy: dict[Task, list[Task]] = {}  # makers of tasks in flight, with the tasks that wait for them
        self._later: list[Unit] = []  # that another process has
        self._look, self._delay = 0.0, SOONEST

    def open(self) -> bool:
        """Find out what is missing, also what has disappeared; whether there is anything to do."""
        missing = [task for task in self.tasks if task not in self.failed and not self.store.has(task)]
        with self._changed:
            self._clear()
            self.opened |= dict.fromkeys(missing)
            for task in missing:
                needs = task.needs()
                if failed := next((need for need in needs if need in self.failed), None):
                    self.failed[task] = _unmet(failed)
                    continue
                waiting = [need for need in needs if need in self._missing]
                self._missing[task] = len(waiting)
                for need in waiting:
                    self._dependants[need].append(task)
                if not waiting:
                    self._ready.append(self._order[task])  # which rises, as a heap does
            return bool(self._missing)

    # -- handing out --------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether nothing will be ready any more; `open` then says whether something is missing all the same."""
        with self._changed:
            waiting = self._in_flight or self._ready or self._parts or self._later
            return self._closed or self.stopped is not None or not waiting

    def take(self) -> Unit | None:
        """A unit that is ready, the first in order; None if there is none now."""
        with self._changed:
            if self._closed or self.stopped is not None:
                return None
            if not self._ready and not self._parts:
                self._look_again()
            unit = self._parts.popleft() if self._parts else next(self._whole(), None)
            if unit is not None:
                self._in_flight += 1
                self.watch.begin(unit)
            return unit

    def next(self) -> Unit | None:
        """A unit that is ready, which is waited for; None if there will be none."""
        with self._changed:
            while (unit := self.take()) is None and not self.ended:
                self._changed.wait(SOONEST)
            return unit

    def more(self) -> bool:
        """Wait until a unit is ready; False if there will be none."""
        with self._changed:
            while not (self._ready or self._parts) and not self.ended:
                self._look_again()
                self._changed.wait(SOONEST)
            return not self.ended

    def pause(self, seconds: float) -> None:
        """Wait so long, or until it has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, min(seconds, TIMEOUT_MAX))

    def stop(self, reason: str) -> None:
        """Hand out nothing any more, as the run cannot go on."""
        with self._changed:
            self.stopped = self.stopped or StoreError(reason)
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing any more, as the executor ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _whole(self) -> Iterator[Unit]:
        while self._ready:
            task = self.tasks[heapq.heappop(self._ready)]
            if task not in self._missing:
                continue  # a state that its training kept meanwhile
            if (maker := self._makers[task]) in self._busy:  # one process makes a training and the states within it
                self._busy[maker].append(task)
                continue
            unit = self._unit(task)
            if unit.part is None:
                self._busy[maker] = []
            yield unit

    def _unit(self, task: Task) -> Unit:
        if task in self._cut:
            return Unit(task, share=0.0)
        if task.pieces < 2:
            return Unit(task, tuple(self._made.get(self._makers[task], ())))
        idle = self.workers - self._in_flight - len(self._ready) - 1
        if idle <= 0 or (count := self._parts_of(task)) < 2:
            return Unit(task)
        self._cut[task] = count
        self._parts += [Unit(task, part=(number, count), share=1 / count) for number in range(count)]
        return self._parts.popleft()

    def _look_again(self) -> None:
        """Units that another process had are ready once it has done them, or has ended."""
        now = time.monotonic()
        if not self._later or now < self._look:
            return
        later, self._later = self._later, []
        for unit in later:
            with self.store.claim(unit.task, unit.part) as free:
                if free or self.store.has(unit.task):
                    self._push(unit)
                    continue
            self._later.append(unit)
        if not self._ready and not self._parts and not self._in_flight and self._later[0].task not in self._said:
            task = self._later[0].task
            self._said.add(task)
            self.watch.say(f"Waiting for another process, which has the task {task.key}.")
        self._delay = min(2 * self._delay, LATEST) if len(self._later) == len(later) else SOONEST
        self._look = now + self._delay

    def report(self, unit: Unit, share: float) -> None:
        """So much of a unit is done, from 0 to 1."""
        with self._changed:
            self.watch.report(unit, share)

    # -- what came of it ----------------------------------------------------------------------------------------

    def settle(self, unit: Unit, outcome: Outcome) -> None:
        """Note what came of a unit, and what is ready by that."""
        try:
            kept = [keep for keep in unit.also if keep != unit.task and self.store.has(keep)]
            there = outcome.kind in ("done", "lost") and (unit.part is not None or self.store.has(unit.task))
        except StoreError as error:
            kept, there, outcome = [], False, Outcome("stop", str(error))
        with self._changed:
            self._in_flight -= 1
            self.watch.end(unit, outcome.kind == "done")
            if unit.part is None:
                for task in self._busy.pop(self._makers[unit.task]):
                    heapq.heappush(self._ready, self._order[task])
            for keep in kept:
                self._done(keep)
            if outcome.kind == "stop":
                self.stop(outcome.reason)
            elif unit.task not in self._missing:
                pass  # another part of it failed
            elif there and (unit.part is None or outcome.kind == "done"):
                self._progress(unit)
            elif outcome.kind == "failed":
                self._fail(unit.task, outcome.reason)
            elif outcome.kind == "elsewhere":
                self._later.append(unit)
            else:
                self._again(unit, outcome)
            self._changed.notify_all()

    def _progress(self, unit: Unit) -> None:
        if unit.part is None:
            self._done(unit.task)
            return
        self._cut[unit.task] -= 1
        if not self._cut[unit.task]:  # what is left is to join them
            heapq.heappush(self._ready, self._order[unit.task])

    def _done(self, task: Task) -> None:
        if self._missing.pop(task, None) is None:
            return
        self.watch.settle(task)
        for dependant in self._dependants.pop(task, ()):
            if dependant in self._missing:
                self._missing[dependant] -= 1
                if not self._missing[dependant]:
                    heapq.heappush(self._ready, self._order[dependant])

    def _fail(self, task: Task, reason: str) -> None:
        failing = deque([(task, reason)])
        while failing:
            task, reason = failing.popleft()
            if self._missing.pop(task, None) is not None:
                self.failed[task] = reason
                self.watch.settle(task)
                failing += [(dependant, _unmet(task)) for dependant in self._dependants.pop(task, ())]

    def _again(self, unit: Unit, outcome: Outcome) -> None:
        """Try once more: at once if the process died, else when `open` has found what is not there."""
        attempt = unit.task, unit.part
        self._attempts[attempt] += 1
        if self._attempts[attempt] < ATTEMPTS:
            if outcome.kind == "killed":
                self._push(unit)
        elif outcome.kind == "killed":
            self._fail(unit.task, f"It was tried {ATTEMPTS} times. {outcome.reason}")
        else:
            reason = outcome.reason or "its result was written and is not there"
            words = f"It was done {ATTEMPTS} times in vain: {reason}. Check that nothing else changes the store."
            self._fail(unit.task, words)

    def _push(self, unit: Unit) -> None:
        if unit.part is None:
            heapq.heappush(self._ready, self._order[unit.task])
        else:
            self._parts.append(unit)


def _unmet(need: Task) -> str:
    return f"It needs the task {need.key}, which failed."
