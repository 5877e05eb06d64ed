"""The time left, on a clock that is set: against the time that tasks of known length take."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape.recipe import MLP, Data, Recipe, Schedule
from linescape.studies.costs import approximate
from linescape.studies.study import Keep, Moment, Scan, Task, Train
from linescape.studies.time_left import TimeLeft

RECIPES = [Recipe(Data("spiral"), MLP((4,)), schedule=Schedule(seed + 1), seed=seed) for seed in range(4)]
TRAININGS: list[Task] = [Train(recipe) for recipe in RECIPES]
LINES: list[Task] = [Scan(Moment(recipe, "start"), Moment(recipe)) for recipe in RECIPES]


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("linescape.studies.time_left.time", made)
    return made


def test_the_time_left_is_there_after_the_first_second(clock: Clock) -> None:
    left = TimeLeft(dict.fromkeys(TRAININGS, 10.0))
    left.begin()
    assert left.seconds(TRAININGS[0]) is None
    clock.now += 0.9
    left.report(0.03)
    assert left.seconds(TRAININGS[0]) is None
    left = TimeLeft(dict.fromkeys(TRAININGS, 10.0))
    left.begin()
    left.report(1e-9)
    clock.now += 2.0
    left.report(0.1)
    assert left.seconds(TRAININGS[0]) == pytest.approx(20 * 3.9)


def test_each_kind_is_as_fast_as_those_that_ended(clock: Clock) -> None:
    tasks = [*TRAININGS[:2], *LINES[:3]]
    left = TimeLeft(dict.fromkeys(tasks, 5.0))
    left.begin()
    clock.now += 50
    left.end(TRAININGS[0], tasks[1:])
    assert left.seconds() == pytest.approx(200), "lines as trainings, while none has ended"
    left.begin()
    clock.now += 5
    left.end(LINES[0], [tasks[1], *LINES[1:3]])
    assert left.seconds() == pytest.approx(50 + 5 + 5)
    left.end(LINES[2], [tasks[1]])
    assert left.seconds() == pytest.approx(50), "another process did one"


def test_a_task_that_goes_on_is_not_taken_for_a_fast_one(clock: Clock) -> None:
    left = TimeLeft(dict.fromkeys(TRAININGS[:2], 100.0))
    left.begin()
    left.report(0.5)
    clock.now += 20
    left.report(0.6)
    assert left.seconds(TRAININGS[0]) == pytest.approx(2 * (40 + 100))
    clock.now += 80
    left.report(1.0)
    left.end(TRAININGS[0], TRAININGS[1:2])
    assert left.seconds() == pytest.approx(200)


def test_a_state_that_a_training_passes_does_not_make_the_others_slow(clock: Clock) -> None:
    state = Keep(Moment(RECIPES[0], "step", 2))
    left = TimeLeft({state: 0.0, **dict.fromkeys(TRAININGS[:2], 10.0)})
    left.begin()
    clock.now += 30
    left.report(0.5)
    assert left.seconds(state) is None
    left.end(state, TRAININGS[:2])
    left.begin()
    clock.now += 20
    left.end(TRAININGS[0], TRAININGS[1:2])
    assert left.seconds() == pytest.approx(20)


def test_what_is_not_counted_says_nothing(clock: Clock) -> None:
    left = TimeLeft({})
    left.begin()
    clock.now += 9
    left.report(0.5)
    assert left.seconds(TRAININGS[0]) is None


def test_longer_tasks_count_more() -> None:
    short, long = (replace(RECIPES[0], schedule=Schedule(epochs)) for epochs in (10, 30))
    assert 2.5 < approximate(Train(long)) / approximate(Train(short)) < 3
    assert approximate(LINES[0]) < approximate(replace(LINES[0], alphas=200))
    state = Keep(Moment(long, "step", 20))
    assert approximate(state) == 0.0 < approximate(state, steps={state: 20}) < approximate(Train(long))
