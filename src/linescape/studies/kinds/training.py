"""Trainings, as tasks: done by `trainings`, which costs steps, and measurements after some epochs."""

from __future__ import annotations

import math
from collections.abc import Collection

from linescape import data
from linescape.recipe import Moment, Recipe, Subspace
from linescape.studies import trainings
from linescape.studies.job import Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.tasks import Keep, Task, Train
from linescape.studies.trainings import TEST_MEASUREMENTS
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement, network, per_epoch, step, step_of


def _do(task: Train, job: Job, also: Collection[Task], _: Part | None) -> None:
    trainings.run(trainings.Training.prepare(task, job), [keep for keep in also if isinstance(keep, Keep)])


def _cost(task: Train, device: str, asked: Asked) -> Cost:
    recipe, epochs = task.recipe, task.recipe.schedule.epochs
    size = copies(recipe) * network(recipe).bytes
    if not epochs:
        return Cost({}, beginning(recipe), size)
    timed, parts = step(recipe, device)
    measured = measurement(recipe, device)
    examples = math.ceil(epochs / math.ceil(epochs / TEST_MEASUREMENTS)) * data.examples(recipe.data)[1]
    steps = step_of(Moment(recipe)) - step_of(Moment(recipe, "start"))
    if task in asked.held_out:
        examples += held_out_examples(recipe, steps)
    calls = {timed: steps * parts, measured: examples / measured.examples}
    return Cost(calls, beginning(recipe), size, parts > 1 or is_scaled(measured))


def held_out_examples(recipe: Recipe, steps: int) -> int:
    """Examples that are measured to find a training's best state in so many steps: those held out, after each epoch."""
    return steps // per_epoch(recipe) * data.held_out(recipe.data)


def copies(recipe: Recipe) -> int:
    """How many tensors for each weight a training leaves: start, end, and the optimizer's."""
    if isinstance(recipe.trains, Subspace):
        return 2  # its coordinates, and the optimizer's of them, are few
    return {"sgd": 2 + (recipe.optimizer.momentum > 0)}.get(recipe.optimizer.name, 4)


KIND = Kind(Train, _do, _cost)
