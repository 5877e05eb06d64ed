"""Planes through networks, as tasks: each position is one of a walk."""

from __future__ import annotations

from collections.abc import Collection

from linescape import data
from linescape.geometry.planes import Plane
from linescape.geometry.state import State
from linescape.geometry.tensors import is_finite
from linescape.geometry.tour import Tour
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.surface import Surface
from linescape.recipe import derive_seed
from linescape.studies.job import Declined, Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import POINT, evaluating, opened, walked
from linescape.studies.measurements import PlaneScan
from linescape.studies.states import state
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement, network


def _do(task: PlaneScan, job: Job, _: Collection[Task], part: Part | None) -> None:
    job, dataset, ends = opened(task, job)
    others = [state(moment, job.store) for moment in task.others]
    if not all(is_finite(tensor) for other in others for tensor in other.values()):
        raise Declined("The plane was not measured, as one of its networks holds NaN or infinity.")
    evaluator = evaluating(task, dataset, job.device, task.test_examples)
    plane = _plane(task, [one.to(job.device) for one in (ends["start"], *others, ends["end"])])
    tour = Tour(plane, task.points, measurable=task.batchnorm == "interpolate")
    options = ScanOptions(alphas=tour.positions, batchnorm=task.batchnorm)
    if (whole := walked(task, tour, evaluator, options, job, part)) is not None:
        curve, record = whole
        job.store.save(task, {task.file: Surface.of(curve, tour).to_bytes()}, record)


def _plane(task: PlaneScan, states: list[State]) -> Plane:
    if task.span == "random":
        return Plane.random(states[-1], seed=derive_seed(task, "directions"), name="end")
    if task.span == "principal":
        return Plane.principal(dict(zip((*map(str, range(len(states) - 1)), "end"), states, strict=True)))
    start, other, end = states
    return Plane(start, end, other, names=task.names)


def _cost(task: PlaneScan, device: str, _: Asked) -> Cost:
    train, test = data.examples(task.recipe.data)
    train = min(task.train_examples or train, train)
    measured = train + min(task.test_examples or test, test)
    calibrating = train * (task.batchnorm == "recalibrate" and bool(network(task.recipe).norms))
    workload = measurement(task.recipe, device)
    positions = (task.points + 3) ** 2
    calls = {workload: (positions * (measured + calibrating) + 2 * measured) / workload.examples}
    size = positions * measured * 2 * 4  # loss and error as float32
    return Cost(calls, beginning(task.recipe) + positions * POINT, size, is_scaled(workload))


KIND = Kind(PlaneScan, _do, _cost)
