"""How flat the loss is along lines, as tasks: measured in one piece."""

from __future__ import annotations

from collections.abc import Collection

from linescape import data
from linescape.geometry.paths import Line
from linescape.interpolation.flat import flatness
from linescape.recipe import derive_seed
from linescape.studies.job import Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import evaluating, opened
from linescape.studies.measurements import Flat
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement

LANCZOS = 40
"""Products with the Hessian that the largest eigenvalue takes, roughly."""

PRODUCT = 6.0
"""Forward passes that one product takes, roughly: a pass forward, one back, and the same for the gradient."""


def _do(task: Flat, job: Job, _: Collection[Task], _part: Part | None) -> None:
    job, dataset, ends = opened(task, job)
    evaluator = evaluating(task, dataset, job.device, None)
    line = Line(ends["start"].to(job.device), ends["end"].to(job.device))
    measured = flatness(
        line,
        evaluator,
        task.alphas,
        data="train",
        batchnorm=task.batchnorm,
        vectors=task.vectors,
        seed=derive_seed(task, "vectors") % 2**32,
    )
    job.store.save(task, {task.file: measured.to_bytes()}, job.record())


def _cost(task: Flat, device: str, _: Asked) -> Cost:
    train, _test = data.examples(task.recipe.data)
    measured = min(task.train_examples or train, train)
    workload = measurement(task.recipe, device)
    passes = task.alphas * (PRODUCT * (LANCZOS + task.vectors) + 10)
    calls = {workload: passes * measured / workload.examples}
    return Cost(calls, beginning(task.recipe), task.alphas * 9 * 8, is_scaled(workload))


KIND = Kind(Flat, _do, _cost)
