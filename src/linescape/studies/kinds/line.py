"""Lines between two states of trainings, as tasks: walked position by position, in one piece or in parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from linescape import data, models
from linescape.data import Dataset
from linescape.errors import OverflowedError, StoreError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Only, Path
from linescape.geometry.state import State, is_finite
from linescape.interpolation import repair
from linescape.interpolation.alignment import aligning as alignment
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, walk
from linescape.recipe import Random
from linescape.studies.job import Declined, Job, check_network, load, measuring
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.measurements import Features, Flat, Noise, PlaneScan
from linescape.studies.paths import Aligned, between
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.tasks import Between, Keep, Scan, Task, Train
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement, network

Evaluated = Scan | Noise | Features | PlaneScan | Flat
"""Tasks that an `Evaluator` measures."""

POINT = 0.002
"""Seconds of any position for loading the network's weights and writing the point."""

ALIGNING = 4.0
"""Seconds for aligning an end, by weights, hardly depending on the network."""


def _do(task: Scan, job: Job, _: Collection[Task], part: Part | None) -> None:
    store, device = job.store, job.device
    job, dataset, ends = opened(task, job)
    evaluator = evaluating(task, dataset, device, task.test_examples)
    path = between(
        task.along,
        ends["start"].to(device),
        ends["end"].to(device),
        evaluator,
        lambda moment: state(moment, store).to(device),
    )
    if task.block:
        fixed = ends[task.rest].to(device)  # also where the path does not lead to the end
        path = Only(path, tensors_of(task, evaluator), fixed)
    options = ScanOptions(alphas=task.grid, batchnorm=task.batchnorm)
    if (whole := walked(task, path, evaluator, options, job, part)) is not None:
        curve, record = whole
        store.save_curve(task, curve, record)


def opened(task: Between, job: Job) -> tuple[Job, Dataset, dict[str, State]]:
    """The job with the data among its conditions, the data, and the states at both ends.

    Raises:
        Declined: an end is not finite.
        StoreError: the data are not those of the training.
    """
    recipe, store = task.recipe, job.store
    dataset = load(recipe.data, recipe.seed)
    _check_data(task, dataset, store)
    ends = {"start": state(task.start, store), "end": state(task.end, store)}
    for name, end in ends.items():
        if not all(map(is_finite, end.values())):
            raise Declined(f"The line was not walked, as its {name} holds NaN or infinity: its training diverged.")
    return replace(job, conditions={**job.conditions, "data": dataset.digest}), dataset, ends


def evaluating(task: Evaluated, dataset: Dataset, device: str, test_examples: int | None) -> Evaluator:
    """An evaluator of a task's network, whose values are overwritten.

    Args:
        task: which says how many training examples are measured.
        dataset: its data.
        device: where to measure.
        test_examples: as of `measuring`.
    """
    recipe = task.recipe
    drawn = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)
    check_network(recipe, drawn, dataset)
    return measuring(drawn, dataset, device, task.train_examples, test_examples)


def tensors_of(task: Scan | Noise, evaluator: Evaluator) -> list[str]:
    """The names of the tensors of the blocks that move."""
    groups = by_convolution(evaluator.model) | by_block(evaluator.model)
    return [name for group in choose(groups, task.moving).values() for name in group]


def walked(
    task: Scan | Noise | PlaneScan, path: Path, evaluator: Evaluator, options: ScanOptions, job: Job, part: Part | None
) -> tuple[Curve, dict[str, Any]] | None:
    """Measure a task's path, from where it was stopped: its curve and record, or None where a part of it was asked for.

    Args:
        task: whose half-done work is continued.
        path: what is measured.
        evaluator: the network and its data.
        options: positions and treatments of BatchNorm.
        job: where and with what it is done, the data among its conditions.
        part: the part that is measured; None for the whole.

    Raises:
        Declined: the network's numbers overflow.
        EndsError, DataError, MeasureError, StateError, StoreError: as `scan`.
    """
    counts = {name: sum(len(targets) for _, targets in batches) for name, batches in evaluator.data.items()}
    shapes = {
        (name, m, t): (count,) for name, count in counts.items() for m in evaluator.measures for t in options.treatments
    }
    half_done = job.store.half_done(task, job.conditions)
    points = half_done.points(options.positions, shapes)
    asked = positions_of(part, options.positions)
    done = {point.alpha for point in points}
    for point in walk(path, evaluator, options, done=done | {*options.positions} - {*asked}):
        points.append(point)
        done.add(point.alpha)
        half_done.save_point(point)
        job.report(len(done.intersection(asked)) / len(asked))
    if part is not None:
        return None
    try:
        curve = collect(points, path, evaluator)
    except OverflowedError as error:  # as after a training that diverged to weights that are still numbers
        raise Declined(f"The line has no values that could be relied on. {error}") from error
    return curve, job.record(evaluator.engine.compiled, half_done.remarks)


def positions_of(part: Part | None, positions: Sequence[float]) -> Sequence[float]:
    """The positions of the k-th of n parts, (k, n), of a walk; parts are as equal as may be. All, of no part."""
    if part is None:
        return positions
    number, count = part
    return positions[number * len(positions) // count : (number + 1) * len(positions) // count]


def _check_data(task: Between, dataset: Dataset, store: Store) -> None:
    """Raise `StoreError` if a line's data are not those that its end was trained on, where that was recorded."""
    trained = Keep(task.end) if task.end.number is not None else Train(task.end.recipe)
    seen = store.record(trained).get("data") if store.has(trained) else None
    if seen not in (None, dataset.digest):
        raise StoreError(
            f"The data set {dataset.name!r} is not what it was when the training {trained.key} saw it: its content has "
            "another digest, so the line would be measured on other data. Restore the data set, or delete that result."
        )


def _cost(task: Scan, device: str, _: Asked) -> Cost:
    train, test = data.examples(task.recipe.data)
    train = min(task.train_examples or train, train)
    measured = train + min(task.test_examples or test, test)
    passes = measured
    if network(task.recipe).norms:  # without, all treatments are one
        passes = measured * len(task.batchnorm) + train * ("recalibrate" in task.batchnorm)
    ends = 2 * measured * bool({"interpolate", "start", "end"} & set(task.batchnorm))  # checked by evaluation
    workload = measurement(task.recipe, device)
    calls = {workload: (task.alphas * passes + ends) / workload.examples}
    size = task.alphas * measured * len(task.batchnorm) * 2 * 4  # loss and error as float32
    calls[workload] += fitting(task) / workload.examples
    aligning = ALIGNING * isinstance(task.along, Aligned)
    return Cost(calls, beginning(task.recipe) + aligning + task.alphas * POINT, size, is_scaled(workload))


def fitting(task: Scan | Features) -> float:
    """Examples that go through the network to align an end by activations, and to rescale units at each position."""
    if not isinstance(task.along, Aligned):
        return 0.0
    available = data.examples(task.recipe.data)[0]
    available = min(task.train_examples or available, available)
    examples = 2.0 * min(alignment.EXAMPLES, available) * (task.along.by == "activations")
    if task.along.repaired:  # each layer but the last at each position, by a pass up to it: half of one, on average
        examples += task.alphas * (network(task.recipe).layers - 1) / 2 * min(repair.EXAMPLES, available)
    return examples


KIND = Kind(Scan, _do, _cost)
