"""Features of layers between two networks, as tasks: measured in one piece."""

from __future__ import annotations

from collections.abc import Collection

from linescape import data
from linescape.geometry.state import State
from linescape.interpolation.features import feature_connectivity
from linescape.recipe import Moment
from linescape.studies.job import Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import ALIGNING, evaluating, fitting, opened
from linescape.studies.measurements import Features
from linescape.studies.paths import Aligned, between
from linescape.studies.states import state
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement, network

COPIES = 3
"""Networks that are called for each batch: both ends and the one between."""


def _do(task: Features, job: Job, _: Collection[Task], __: Part | None) -> None:
    store, device = job.store, job.device
    job, dataset, ends = opened(task, job)
    evaluator = evaluating(task, dataset, device, task.test_examples)

    def found(moment: Moment) -> State:
        return state(moment, store).to(device)

    path = between(task.along, ends["start"].to(device), ends["end"].to(device), evaluator, found)
    measured = feature_connectivity(
        path, evaluator, task.alphas, layers=task.layers or None, data="test", batchnorm=task.batchnorm
    )
    store.save(task, {task.file: measured.to_bytes()}, job.record())


def _cost(task: Features, device: str, _: Asked) -> Cost:
    train, test = data.examples(task.recipe.data)
    measured = min(task.test_examples or test, test)
    calibrating = min(task.train_examples or train, train) * (task.batchnorm == "recalibrate")
    calibrating *= network(task.recipe).norms
    workload = measurement(task.recipe, device)
    passes = task.alphas * (COPIES * measured + calibrating) + 2 * calibrating + fitting(task)
    size = (2 * task.alphas + 1) * measured * 4 * max(1, len(task.layers))  # float32, of each layer
    fixed = beginning(task.recipe) + ALIGNING * isinstance(task.along, Aligned)
    return Cost({workload: passes / workload.examples}, fixed, size, is_scaled(workload))


KIND = Kind(Features, _do, _cost)
