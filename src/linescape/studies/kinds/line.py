"""Lines between two states of trainings, as tasks: walked position by position, in one piece or in parts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from linescape import data, models
from linescape.data import Dataset
from linescape.errors import StoreError
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Only
from linescape.geometry.state import is_finite
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, walk
from linescape.recipe import Random
from linescape.studies.job import Declined, Job, check_network, load, measuring
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.paths import Aligned, between
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.tasks import Keep, Scan, Task, Train
from linescape.studies.workloads import Cost, beginning, is_scaled, measurement, network

POINT = 0.002
"""Seconds of any position for loading the network's weights and writing the point."""

ALIGNING = 4.0
"""Seconds for aligning an end, by weights, hardly depending on the network."""


def _do(task: Scan, job: Job, _: Collection[Task], part: Part | None) -> None:
    store, device = job.store, job.device
    recipe = task.recipe
    dataset = load(recipe.data, recipe.seed)
    job = replace(job, conditions={**job.conditions, "data": dataset.digest})
    _check_data(task, dataset, store)
    ends = {"start": state(task.start, store), "end": state(task.end, store)}
    for name, end in ends.items():
        if not all(map(is_finite, end.values())):
            raise Declined(f"The line was not walked, as its {name} holds NaN or infinity: its training diverged.")
    drawn = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)  # values are overwritten
    check_network(recipe, drawn, dataset)
    evaluator = measuring(drawn, dataset, device, task.train_examples, task.test_examples)
    path = between(
        task.along,
        ends["start"].to(device),
        ends["end"].to(device),
        evaluator,
        lambda moment: state(moment, store).to(device),
    )
    if task.block:
        groups = by_convolution(evaluator.model) | by_block(evaluator.model)
        names = [name for group in choose(groups, task.moving).values() for name in group]
        path = Only(path, names, fixed=ends[task.rest].to(device))  # also where the path does not lead to the end
    options = ScanOptions(alphas=task.grid, batchnorm=task.batchnorm)
    counts = {name: sum(len(targets) for _, targets in batches) for name, batches in evaluator.data.items()}
    shapes = {
        (name, m, t): (count,) for name, count in counts.items() for m in evaluator.measures for t in task.batchnorm
    }
    half_done = store.half_done(task, job.conditions)
    points = half_done.points(options.positions, shapes)
    asked = positions_of(part, options.positions)
    done = {point.alpha for point in points}
    for point in walk(path, evaluator, options, done=done | {*options.positions} - {*asked}):
        points.append(point)
        done.add(point.alpha)
        half_done.save_point(point)
        job.report(len(done.intersection(asked)) / len(asked))
    if part is not None:
        return
    curve = collect(points, path, evaluator)
    store.save_curve(task, curve, job.record(evaluator.engine.compiled, half_done.remarks))


def positions_of(part: Part | None, positions: Sequence[float]) -> Sequence[float]:
    """The positions of the k-th of n parts, (k, n), of a walk; parts are as equal as may be. All, of no part."""
    if part is None:
        return positions
    number, count = part
    return positions[number * len(positions) // count : (number + 1) * len(positions) // count]


def _check_data(task: Scan, dataset: Dataset, store: Store) -> None:
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
    aligning = ALIGNING * isinstance(task.along, Aligned)
    return Cost(calls, beginning(task.recipe) + aligning + task.alphas * POINT, size, is_scaled(workload))


KIND = Kind(Scan, _do, _cost)
