"""The schedule against a made-up store: no task too early, twice or forgotten, whatever befalls the units."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

import linescape.studies.schedule
from linescape.errors import StoreError
from linescape.recipe import MLP, Data, Optimizer, Recipe, Trained
from linescape.recipe import Schedule as Rates
from linescape.studies.schedule import ATTEMPTS, Outcome, Schedule, Unit, Watch
from linescape.studies.study import Keep, Moment, Scan, Task, Train, in_order

DONE = Outcome("done")


class Made:
    """A store that knows what is settled, and what other processes have."""

    def __init__(self) -> None:
        self.settled: set[Task] = set()
        self.others: set[Task] = set()

    def has(self, task: Task) -> bool:
        return task in self.settled

    @contextmanager
    def claim(self, task: Task, part: tuple[int, int] | None = None) -> Iterator[bool]:
        yield task not in self.others


class Noted(Watch):
    def __init__(self) -> None:
        self.settled: list[Task] = []
        self.said: list[str] = []

    def settle(self, task: Task) -> None:
        self.settled.append(task)

    def say(self, words: str) -> None:
        self.said.append(words)


def recipe(seed: int = 0) -> Recipe:
    return Recipe(Data("spiral"), MLP((4,)), Optimizer(batch_size=50), Rates(3), seed=seed)


def line(made: Recipe, **changes: object) -> Scan:
    return replace(Scan(Moment(made, "start"), Moment(made)), **changes)


def tasks(seeds: int) -> tuple[Task, ...]:
    """Trainings, each continued by another, states within them, and lines of all."""
    wanted: list[Task] = []
    for seed in range(seeds):
        first = recipe(seed)
        second = replace(first, init=Trained(first), order_seed=1)
        wanted += [line(first), line(first, block="fc"), line(second), Keep(Moment(first, "step", 3))]
    return in_order(wanted)


def work(schedule: Schedule, store: Made, became: Callable[[Unit], Outcome] = lambda _: DONE) -> list[Unit]:
    """Do all units one after another; in which order."""
    order = []
    while schedule.open():
        while (unit := schedule.next()) is not None:
            order.append(unit)
            outcome = became(unit)
            if outcome == DONE and unit.part is None:
                store.settled.add(unit.task)
            schedule.settle(unit, outcome)
        if schedule.stopped:
            break
    return order


def test_each_task_is_done_once_in_order() -> None:
    store, wanted = Made(), tasks(3)
    schedule = Schedule(wanted, store)
    schedule.watch = watch = Noted()
    assert [unit.task for unit in work(schedule, store)] == list(wanted)
    assert watch.settled == list(wanted)
    assert list(schedule.opened) == list(wanted)
    assert not schedule.open()


def test_what_a_training_keeps_as_it_passes_is_not_done_again() -> None:
    store, wanted = Made(), tasks(1)
    (keep,) = (task for task in wanted if isinstance(task, Keep))

    def keeping(unit: Unit) -> Outcome:
        store.settled.update(unit.also)
        return DONE

    order = work(Schedule(wanted, store), store, keeping)
    assert order[0] == Unit(Train(keep.recipe), (keep,))
    assert [unit.task for unit in order] == [task for task in wanted if task != keep]


def test_one_process_makes_a_training_and_the_states_within_it() -> None:
    made = recipe()
    wanted = (Train(made), Keep(Moment(made, "step", 1)), Keep(Moment(made, "step", 2)), Train(recipe(1)))
    store = Made()
    schedule = Schedule(wanted, store, workers=4)
    schedule.open()
    first, second = schedule.take(), schedule.take()
    assert first is not None
    assert second is not None
    assert [first.task, second.task] == [wanted[0], wanted[3]]
    assert schedule.take() is None
    assert not schedule.ended
    schedule.settle(first, Outcome("failed", "why"))
    third = schedule.take()
    assert third is not None
    assert third.task == wanted[1]


def test_many_threads_with_all_that_may_happen() -> None:
    """Units end in any order, some elsewhere first, some killed; each after its needs, and never twice at once."""
    store, wanted, rng = Made(), tasks(12), random.Random(0)
    schedule = Schedule(wanted, store, workers=8, parts=lambda task: 3 if isinstance(task, Scan) and task.block else 1)
    lock, now, early = threading.Lock(), Counter[Unit](), list[Unit]()
    deaths = Counter[tuple[Task, object]]()

    def worker() -> None:
        while (unit := schedule.next()) is not None:
            with lock:
                now[unit] += 1
                if now[unit] > 1 or any(need not in store.settled for need in unit.task.needs()):
                    early.append(unit)
                kind = rng.choice(["done", "done", "done", "elsewhere", "killed"])
                if kind == "killed":
                    deaths[unit.task, unit.part] += 1
                    kind = "done" if deaths[unit.task, unit.part] >= ATTEMPTS else kind
                pause = rng.random() / 1000
            time.sleep(pause)
            with lock:
                now[unit] -= 1
                if kind == "done" and unit.part is None:
                    store.settled.add(unit.task)
            schedule.settle(unit, Outcome(kind))  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linescape.studies.schedule, "SOONEST", 0.001)
        patch.setattr(linescape.studies.schedule, "LATEST", 0.01)
        assert schedule.open()
        threads = [threading.Thread(target=worker) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not early
    assert schedule.failed == {}
    assert store.settled == set(wanted)
    assert not schedule.open()


def test_a_task_that_fails_fails_what_needs_it_only() -> None:
    store, wanted = Made(), tasks(2)
    schedule = Schedule(wanted, store)
    bad = wanted[0]
    order = work(schedule, store, lambda unit: Outcome("failed", "why") if unit.task == bad else DONE)
    assert schedule.failed[bad] == "why"
    needing = {task for task in wanted if bad in in_order([task])}
    assert set(schedule.failed) == needing
    assert f"It needs the task {bad.key}, which failed." in schedule.failed.values()
    assert {unit.task for unit in order} == (set(wanted) - needing) | {bad}


def test_a_process_that_dies_is_tried_again_and_then_said() -> None:
    store, wanted = Made(), tasks(1)
    schedule = Schedule(wanted, store)
    killed = Outcome("killed", "The process ended (signal 9).")
    order = work(schedule, store, lambda unit: killed if unit.task == wanted[1] else DONE)
    assert [unit.task for unit in order].count(wanted[1]) == ATTEMPTS
    assert schedule.failed == {wanted[1]: "It was tried 3 times. The process ended (signal 9)."}


def test_what_another_process_has_comes_back_when_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.schedule, "SOONEST", 0.01)
    store, wanted = Made(), tasks(1)
    other = wanted[0]
    store.others.add(other)
    schedule, tries = Schedule(wanted, store), 0
    schedule.watch = watch = Noted()

    def ends() -> None:
        store.settled.add(other)
        store.others.clear()

    threading.Timer(0.2, ends).start()

    def became(unit: Unit) -> Outcome:
        nonlocal tries
        tries += unit.task == other
        return Outcome("elsewhere") if unit.task in store.others else DONE

    work(schedule, store, became)
    assert store.settled == set(wanted)
    assert tries == 2  # and not as often as it was looked
    assert watch.said == [f"Waiting for another process, which has the task {other.key}."]


def test_what_disappears_is_done_again_but_not_for_ever() -> None:
    store, wanted = Made(), tasks(1)
    lost, needing = wanted[0], wanted[1]
    schedule, times = Schedule(wanted, store), Counter[Task]()

    def became(unit: Unit) -> Outcome:
        times[unit.task] += 1
        if unit.task == needing and times[needing] < 3:
            store.settled.discard(lost)
            return Outcome("lost", "what it needs is not there")
        return DONE

    work(schedule, store, became)
    assert (times[lost], times[needing], schedule.failed) == (3, 3, {})
    store.settled.clear()
    schedule = Schedule(wanted, store)
    work(schedule, store, lambda unit: Outcome("lost", "gone") if unit.task == needing else DONE)
    assert "done 3 times in vain: gone" in schedule.failed[needing]


def test_a_store_that_cannot_be_used_ends_the_run() -> None:
    store, wanted = Made(), tasks(2)
    schedule = Schedule(wanted, store)
    order = work(schedule, store, lambda unit: Outcome("stop", "the disk is full"))
    assert len(order) == 1
    assert isinstance(schedule.stopped, StoreError)
    assert str(schedule.stopped) == "the disk is full"

    def unreadable(task: Task) -> bool:
        raise StoreError("it cannot be read")

    schedule = Schedule(wanted, store)
    schedule.open()
    unit = schedule.take()
    assert unit is not None
    store.has = unreadable  # type: ignore[method-assign]
    schedule.settle(unit, DONE)
    assert str(schedule.stopped) == "it cannot be read"
    assert schedule.take() is None


def test_a_long_walk_is_cut_where_workers_are_idle() -> None:
    made = recipe()
    store, long = Made(), line(made)
    store.settled.add(Train(made))
    schedule = Schedule(in_order([long]), store, workers=4, parts=lambda _: 3)
    schedule.open()
    units = [schedule.take() for _ in range(3)]
    assert units == [Unit(long, part=(number, 3), share=1 / 3) for number in range(3)]
    assert schedule.take() is None
    assert not schedule.ended
    for unit in units:
        assert unit is not None
        schedule.settle(unit, DONE)
    joins = schedule.take()
    assert joins == Unit(long, share=0.0)
    store.settled.add(long)
    schedule.settle(joins, DONE)
    assert schedule.ended
    assert not schedule.open()


def test_a_walk_is_not_cut_where_there_is_enough_to_do() -> None:
    store, wanted = Made(), tuple(line(recipe(seed)) for seed in range(4))
    store.settled.update(Train(recipe(seed)) for seed in range(4))
    schedule = Schedule(wanted, store, workers=2, parts=lambda _: 3)
    parts = [unit.part for unit in work(schedule, store)]
    assert parts == [None, None, None, (0, 3), (1, 3), (2, 3), None]  # only where one worker would have nothing
    store.settled.difference_update(wanted)
    schedule = Schedule(wanted, store, workers=1, parts=lambda _: 3)
    assert [unit.part for unit in work(schedule, store)] == [None] * 4


def test_a_part_that_fails_fails_the_walk_once() -> None:
    made = recipe()
    store, long = Made(), line(made)
    store.settled.add(Train(made))
    schedule = Schedule(in_order([long]), store, workers=9, parts=lambda _: 3)
    order = work(schedule, store, lambda unit: Outcome("failed", "why") if unit.part == (1, 3) else DONE)
    assert len(order) == 3
    assert schedule.failed == {long: "why"}


def test_a_task_costs_little_however_many_there_are() -> None:
    """By the growth of the time, which another program on this machine changes little: not with the square."""

    def seconds(count: int) -> float:
        store, made = Made(), recipe()
        store.settled.add(Train(made))
        wanted = tuple(line(made, alphas=number) for number in range(2, count + 2))
        begun = time.process_time()
        assert len(work(Schedule(wanted, store), store)) == count
        return time.process_time() - begun

    few, many = seconds(500), seconds(4000)
    assert many < 3 * 8 * few
    assert many / 4000 < 0.005
