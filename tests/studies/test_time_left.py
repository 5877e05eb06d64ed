"""The time left, on a clock that is set: against the time that tasks of known length take."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape.recipe import MLP, Data, Recipe, Schedule
from linescape.studies.costs import approximate
from linescape.studies.kinds.kind import Asked
from linescape.studies.schedule import Unit
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
    left, unit = TimeLeft(dict.fromkeys(TRAININGS, 10.0)), Unit(TRAININGS[0])
    left.begin(unit)
    assert left.seconds() is None
    clock.now += 0.9
    left.report(unit, 0.03)
    assert left.seconds() is None
    left = TimeLeft(dict.fromkeys(TRAININGS, 10.0))
    left.begin(unit)
    left.report(unit, 1e-9)
    clock.now += 2.0
    left.report(unit, 0.1)
    assert left.seconds() == pytest.approx(20 * 3.9)


def test_each_kind_is_as_fast_as_those_that_ended(clock: Clock) -> None:
    left = TimeLeft(dict.fromkeys([*TRAININGS[:2], *LINES[:3]], 5.0))
    left.begin(Unit(TRAININGS[0]))
    clock.now += 50
    left.end(Unit(TRAININGS[0]), True)
    left.settle(TRAININGS[0])
    assert left.seconds() == pytest.approx(200), "lines as trainings, while none has ended"
    left.begin(Unit(LINES[0]))
    clock.now += 5
    left.end(Unit(LINES[0]), True)
    assert left.seconds() == pytest.approx(50 + 5 + 5)
    left.settle(LINES[2])
    assert left.seconds() == pytest.approx(50 + 5), "another process did one"


def test_several_at_once_and_parts(clock: Clock) -> None:
    left = TimeLeft(dict.fromkeys(LINES[:3], 12.0))
    halves = [Unit(LINES[0], part=(number, 2), share=0.5) for number in range(2)]
    for unit in (*halves, Unit(LINES[1])):
        left.begin(unit)
    clock.now += 6
    left.end(halves[0], True)
    assert left.seconds() == pytest.approx(6 + 12 + 12)
    left.end(halves[1], False)
    assert left.seconds() == pytest.approx(6 + 12 + 12), "one that failed is still to do"
    left.settle(LINES[0])
    assert left.seconds() == pytest.approx(24)


def test_a_task_that_goes_on_is_not_taken_for_a_fast_one(clock: Clock) -> None:
    left, unit = TimeLeft(dict.fromkeys(TRAININGS[:2], 100.0)), Unit(TRAININGS[0])
    left.begin(unit)
    left.report(unit, 0.5)
    clock.now += 20
    left.report(unit, 0.6)
    assert left.seconds() == pytest.approx(2 * (40 + 100))
    clock.now += 80
    left.report(unit, 1.0)
    left.end(unit, True)
    assert left.seconds() == pytest.approx(200)


def test_a_state_that_a_training_passes_does_not_make_the_others_slow(clock: Clock) -> None:
    state = Keep(Moment(RECIPES[0], "step", 2))
    left = TimeLeft({state: 0.0, **dict.fromkeys(TRAININGS[:2], 10.0)})
    left.begin(Unit(state))
    clock.now += 30
    left.report(Unit(state), 0.5)
    assert left.seconds() is None
    left.end(Unit(state), True)
    left.begin(Unit(TRAININGS[0]))
    clock.now += 20
    left.end(Unit(TRAININGS[0]), True)
    assert left.seconds() == pytest.approx(20)


def test_what_is_not_counted_says_nothing(clock: Clock) -> None:
    left, unit = TimeLeft({}), Unit(TRAININGS[0])
    left.begin(unit)
    clock.now += 9
    left.report(unit, 0.5)
    assert left.seconds() is None


def test_longer_tasks_count_more() -> None:
    short, long = (replace(RECIPES[0], schedule=Schedule(epochs)) for epochs in (10, 30))
    assert 2.5 < approximate(Train(long)) / approximate(Train(short)) < 3
    assert approximate(LINES[0]) < approximate(replace(LINES[0], alphas=200))
    state = Keep(Moment(long, "step", 20))
    assert approximate(state) == 0.0 < approximate(state, asked=Asked({state: 20})) < approximate(Train(long))
