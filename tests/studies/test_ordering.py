"""When a study ends, with any number of processes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from linescape import studies
from linescape.recipe import MLP, Data, Optimizer, Recipe, ResNet, Schedule
from linescape.studies.costs import approximate
from linescape.studies.ordering import FEW, chains, makespan, ranks
from linescape.studies.study import Moment, Scan, Task, Train
from linescape.training import interventions as change

BASE = Recipe(Data("fashion-mini"), ResNet(8, 4), Optimizer(batch_size=64), Schedule(6))
PLAIN = Recipe(Data("fashion-mini"), MLP((8,)))


def trainings(count: int) -> list[Task]:
    return [Train(replace(PLAIN, seed=seed)) for seed in range(count)]


def test_processes_share_the_tasks_and_helpers_join_late() -> None:
    tasks = trainings(4)
    assert makespan(dict.fromkeys(tasks, 100.0), 1, 7) == pytest.approx(400)
    assert makespan(dict.fromkeys(tasks, 100.0), 2, 7) == pytest.approx(207)
    assert makespan(dict.fromkeys(tasks, 100.0), 9, 7) == pytest.approx(107)
    assert makespan(dict.fromkeys(tasks, 1.0), 2, 7) == pytest.approx(4), "done before the helper is there"
    assert makespan({}, 2) == 0


def test_what_needs_another_waits_for_it() -> None:
    first, second = Train(BASE), Train(change.partial(BASE, "fc"))
    line = Scan(Moment(second.recipe, "start"), Moment(second.recipe))
    other = trainings(1)[0]
    seconds: dict[Task, float] = {first: 100.0, second: 50.0, line: 10.0, other: 20.0}
    assert makespan(seconds, 4, 7) == pytest.approx(160)
    assert makespan({second: 50.0, line: 10.0}, 2, 7) == pytest.approx(60), "what is done need not be waited for"
    assert chains(seconds) == {first: 160.0, second: 60.0, line: 10.0, other: 20.0}


def test_many_processes_begin_with_the_longest_chains() -> None:
    """Ten trainings and one of which another is continued, which comes last in the study."""
    first, second = Train(BASE), Train(change.partial(BASE, "fc"))
    seconds = dict.fromkeys([*trainings(10), first, second], 10.0)
    assert list(ranks(seconds, FEW)) == list(seconds)
    assert next(iter(ranks(seconds, FEW + 1))) == first
    assert makespan(seconds, 2) == pytest.approx(70), "12 tasks: the last begins when it is alone"
    assert makespan(seconds, 6) == pytest.approx(20)


@pytest.mark.parametrize("scale", studies.scales("vlaar2022"))
@pytest.mark.parametrize("processes", [64, 1000])
def test_a_schedule_is_nearly_as_short_as_can_be(scale: str, processes: int) -> None:
    seconds = {task: approximate(task) for task in studies.find("vlaar2022", scale).tasks()}
    shortest = max(*chains(seconds).values(), sum(seconds.values()) / processes)
    assert shortest <= makespan(seconds, processes) * (1 + 1e-9)
    assert makespan(seconds, processes) < 1.1 * shortest
