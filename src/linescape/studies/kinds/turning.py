"""How logits turn along lines, as tasks: in float64 on the CPU, which takes seconds, so in one piece from the start."""

from __future__ import annotations

from collections.abc import Collection

from linescape import data, models, tensor_file
from linescape.geometry.paths import Line
from linescape.interpolation.turning import gauss_length, logit_positions
from linescape.recipe import Random
from linescape.studies.job import Job, check_network
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import opened
from linescape.studies.measurements import Turning
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement

EXACT = 10.0
"""Forward passes that two exact derivatives in float64 take, roughly."""


def _do(task: Turning, job: Job, _: Collection[Task], _part: Part | None) -> None:
    recipe = task.recipe
    job, dataset, ends = opened(task, job)
    network = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)
    check_network(recipe, network, dataset)
    inputs = dataset.normalise(dataset.train.take(task.train_examples).inputs)
    line = Line(ends["start"], ends["end"])
    found = gauss_length(line, network, inputs, task.alphas)
    shown = logit_positions(line, network, inputs[: task.shown], task.alphas)
    logits = tensor_file.encode_sealed(tensor_file.from_arrays({"logits": shown}), {"examples": len(shown[0])})
    job.store.save(task, {task.file: found.to_bytes(), "logits.safetensors": logits}, job.record())


def _cost(task: Turning, _device: str, _: Asked) -> Cost:
    train, _test = data.examples(task.recipe.data)
    measured = min(task.train_examples or train, train)
    workload = measurement(task.recipe, "cpu")
    size = task.alphas * (measured * (8 * 4 + 1) + task.shown * data.form(task.recipe.data)[1] * 8)
    calls = {workload: EXACT * task.alphas * measured / workload.examples}
    return Cost(calls, beginning(task.recipe), size, is_scaled(workload))


KIND = Kind(Turning, _do, _cost)
