"""Does one task: trains a recipe or walks a line, from where it was stopped, and saves the result in a store.

A task that cannot be done, since the training that it starts from diverged, is declined: that is its result.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from linescape import models
from linescape.data import Dataset
from linescape.errors import StoreError
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Only
from linescape.geometry.state import is_finite
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, walk
from linescape.recipe import Random
from linescape.studies import trainings
from linescape.studies.job import Declined, Job, Report, check_own, conditions, load, measuring, one_thread
from linescape.studies.paths import between
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.study import Keep, Scan, Task, Train


def do(
    task: Task,
    store: Store,
    device: str = "cpu",
    report: Report = lambda _: None,
    also: Collection[Keep] = (),
    part: tuple[int, int] | None = None,
) -> None:
    """Do one task, from where it was stopped if it was begun; its needs must be settled.

    Args:
        task: what to do.
        store: where its needs are read and its result is written.
        device: where to compute.
        report: called with the share that is done.
        also: of a training, or of a state within one: further states of it that are kept as it passes.
        part: of a walk: (k, n) measures only the k-th of n parts of its positions, which the whole then uses.

    Raises:
        StoreError: the store cannot be written, or a need is missing or damaged.
        LinescapeError: the task is impossible.
    """
    job = Job(store, device, report, conditions(device), time.perf_counter())
    try:
        for need in task.needs():
            if (reason := store.declined(need)) is not None:
                raise Declined(reason)
        with one_thread(device):
            if isinstance(task, Scan):
                _scan(task, job, part)
            elif isinstance(task, Keep):
                trainings.keep_within(task, job, {task, *also})
            else:
                trainings.run(trainings.Training.prepare(task, job), also)
    except Declined as declined:
        if part is not None:
            return  # the whole will say so
        store.decline(task, str(declined), job.record())


def _scan(task: Scan, job: Job, part: tuple[int, int] | None) -> None:
    store, device = job.store, job.device
    recipe = task.end.recipe
    dataset = load(recipe.data, recipe.seed)
    job = replace(job, conditions={**job.conditions, "data": dataset.digest})
    _check_data(task, dataset, store)
    ends = {"start": state(task.start, store), "end": state(task.end, store)}
    for name, end in ends.items():
        if not all(map(is_finite, end.values())):
            raise Declined(f"The line was not walked, as its {name} holds NaN or infinity: its training diverged.")
    network = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)  # values are overwritten
    check_own(recipe, network, dataset)
    evaluator = measuring(network, dataset, device, task.train_examples, task.test_examples)
    path = between(
        task.along,
        ends["start"].to(device),
        ends["end"].to(device),
        lambda: evaluator.model,
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


def positions_of(part: tuple[int, int] | None, positions: Sequence[float]) -> Sequence[float]:
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
