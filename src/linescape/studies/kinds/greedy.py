"""Layers of two networks averaged one after another, as tasks: in one piece, as each choice follows from the last."""

from __future__ import annotations

from collections.abc import Collection

from linescape import data, models
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Line
from linescape.interpolation.greedy import greedy_order
from linescape.recipe import Random
from linescape.studies.job import Job, check_network, measuring
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import opened
from linescape.studies.measurements import Greedy
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement


def _do(task: Greedy, job: Job, _: Collection[Task], _part: Part | None) -> None:
    job, dataset, ends = opened(task, job)
    recipe = task.recipe

    def evaluator(train: int | None, test: int | None) -> Evaluator:
        network = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)
        check_network(recipe, network, dataset)
        return measuring(network, dataset, job.device, train, test)

    training, test = evaluator(task.train_examples, None), evaluator(None, task.test_examples)
    groups = by_convolution(training.model) | by_block(training.model)
    layers = {name: [*choose(groups, (name,))[name]] for name in task.layers}
    host = ends["end"].to(job.device)
    found = greedy_order(Line(ends["start"].to(job.device), host), host, layers, training, test)
    job.store.save(task, {task.file: found.to_bytes()}, job.record())


def _cost(task: Greedy, device: str, _: Asked) -> Cost:
    train, test = data.examples(task.recipe.data)
    count, workload = len(task.layers), measurement(task.recipe, device)
    examples = count * (count + 1) / 2 * min(task.train_examples or train, train)
    examples += count * min(task.test_examples or test, test)
    calls = {workload: examples / workload.examples}
    return Cost(calls, beginning(task.recipe), count * 3 * 8, is_scaled(workload))


KIND = Kind(Greedy, _do, _cost)
