"""Modules with noise on the way from their start to their end, as tasks: each network is a position of one walk."""

from __future__ import annotations

from collections.abc import Collection

from linescape import data
from linescape.geometry.paths import Line, Only
from linescape.geometry.perturbed import Perturbed
from linescape.interpolation.critical import Criticality, moved
from linescape.interpolation.options import ScanOptions, grid
from linescape.recipe import derive_seed
from linescape.studies.job import Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import POINT, evaluating, opened, tensors_of, walked
from linescape.studies.measurements import Noise
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement


def _do(task: Noise, job: Job, _: Collection[Task], part: Part | None) -> None:
    job, dataset, ends = opened(task, job)
    evaluator = evaluating(task, dataset, job.device, test_examples=None)
    line = Line(ends["start"].to(job.device), ends["end"].to(job.device))
    alone = Only(line, tensors_of(task, evaluator))
    path = Perturbed(alone, alone.names, grid(task.alphas), task.sigmas, task.draws, derive_seed(task, "noise"))
    if (whole := walked(task, path, evaluator, ScanOptions(alphas=path.positions), job, part)) is not None:
        curve, record = whole
        found = Criticality.of(curve, path, moved(path))
        job.store.save(task, {task.file: found.to_bytes()}, record)


def _cost(task: Noise, device: str, _: Asked) -> Cost:
    train, _test = data.examples(task.recipe.data)
    measured = min(task.train_examples or train, train)
    workload = measurement(task.recipe, device)
    calls = {workload: (task.pieces + 2) * measured / workload.examples}  # both ends are checked by evaluation
    size = task.pieces * 2 * 8  # means of loss and error, as float64
    return Cost(calls, beginning(task.recipe) + task.pieces * POINT, size, is_scaled(workload))


KIND = Kind(Noise, _do, _cost)
