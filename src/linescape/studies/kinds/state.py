"""States within trainings, as tasks: a training that passes one keeps it, else some of it is done for that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from linescape.recipe import Moment, Recipe
from linescape.studies import trainings
from linescape.studies.job import Job, conditions
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.training import copies, held_out_examples
from linescape.studies.store import Store
from linescape.studies.tasks import Keep, Task, Train
from linescape.studies.trainings import differing, kept_best
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement, network, per_epoch, step, step_of


def _do(task: Keep, job: Job, also: Collection[Task], _: Part | None) -> None:
    trainings.keep_within(task, job, {task, *(keep for keep in also if isinstance(keep, Keep))})


def _cost(task: Keep, device: str, asked: Asked) -> Cost:
    recipe, steps = task.recipe, asked.steps.get(task, 0)
    size = (copies(recipe) - 1) * network(recipe).bytes
    if not steps:
        return Cost({}, 0.0, size)  # its training passes it
    timed, parts = step(recipe, device)
    calls, scaled = {timed: steps * parts}, parts > 1
    if task in asked.held_out:
        measured = measurement(recipe, device)
        calls[measured] = held_out_examples(recipe, steps) / measured.examples
        scaled |= is_scaled(measured)
    return Cost(calls, beginning(recipe), size, scaled)


def asked_of_trainings(missing: Sequence[Task], store: Store, device: str) -> Asked:
    """What missing states within trainings take.

    One run keeps all states of a training, when the first is asked for. Of a training that is finished it goes on to
    the end of an epoch, where it is compared with the log, or to its end, where last bits may be others.
    """
    runs: defaultdict[Recipe, list[Keep]] = defaultdict(list)
    for task in missing:
        if isinstance(task, Keep):
            runs[task.recipe].append(task)
    steps: dict[Task, int] = {}
    held_out: set[Task] = set()
    trained = {task.recipe for task in missing if isinstance(task, Train)}
    for recipe, keeps in runs.items():
        if any(keep.moment.at == "best" for keep in keeps):
            held_out.add(Train(recipe) if recipe in trained else keeps[0])
        if recipe in trained:
            continue
        step, end = max(step_of(keep.moment) for keep in keeps), step_of(Moment(recipe))
        if store.has(Train(recipe)):
            other = device != "cpu" or differing(recipe, store.record(Train(recipe)), conditions(device))
            epoch = per_epoch(recipe)
            step = end if other else min((step // epoch + 1) * epoch, end)
        steps[keeps[0]] = step - step_of(Moment(recipe, "start"))
    held_out.update(Train(recipe) for recipe in trained if kept_best(recipe, store))  # which is compared with it
    return Asked(steps, held_out)


KIND = Kind(Keep, _do, _cost)
