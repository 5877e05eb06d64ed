"""Does one task: trains a recipe or walks a line, from where it was stopped, and saves the result in a store.

A task that cannot be done, since the training that it starts from diverged, is declined: that is its result.

On the CPU a task computes with one thread. So its bits do not depend on the number of cores, and small networks lose
nothing: more threads than idle cores make them ten times slower. Cores serve tasks side by side: see `work`.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from linescape import data, models
from linescape.data import Dataset
from linescape.engine import arithmetic_digest, compiler, library_digest, memory, threads
from linescape.errors import StoreError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Line, Only, Path
from linescape.geometry.state import State, is_finite
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, walk
from linescape.recipe import Data, OwnModel, Random, Recipe, Trained, Weights
from linescape.shape import TOLERANCE, hump
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Task, Train, hump_line
from linescape.training.initialisation import at_barrier, carried_over, draw, from_file
from linescape.training.loop import Checkpoint, learning_rate, memory_layout, train

SNAPSHOT_SECONDS = 10.0
"""Seconds between snapshots of a training, which is what a kill may cost."""

TEST_MEASUREMENTS = 5
"""Number of epochs of a training after which the test half is measured, evenly spread, the last among them."""

CPU_MEMORY = 5e8
"""Bytes of activations that one line may keep on the CPU, where as many lines are walked at once as there are cores."""

GPU_SHARE = 1 / 16
"""Share of a GPU's memory that a line may take for them: with 8 GB as much as on the CPU."""

Report = Callable[[float], None]
"""A function that gets the share of a task that is done, from 0 to 1."""


def do(task: Task, store: Store, device: str = "cpu", report: Report = lambda _: None) -> None:
    """Do one task, from where it was stopped if it was begun; its needs must be settled.

    Args:
        task: what to do.
        store: where its needs are read and its result is written.
        device: where to compute.
        report: called with the share that is done.

    Raises:
        StoreError: the store cannot be written, or a need is missing or damaged.
        LinescapeError: the task is impossible.
    """
    on_gpu = torch.device(device).type == "cuda"
    # Each of these may decide the last bits. What is half done is not continued with others.
    library = None if on_gpu else library_digest()  # with which the CPU walks lines with other last bits
    conditions = {
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "arithmetic": None if on_gpu else arithmetic_digest(),
        "compiler": compiler() is not None if on_gpu else library is not None,
        "native_library": library,
        "versions": {
            "linescape": version("linescape"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    job = _Job(store, device, report, conditions, time.perf_counter())
    try:
        for need in task.needs():
            if (reason := store.declined(need)) is not None:
                raise _Declined(reason)
        with one_thread(device):
            if isinstance(task, Train):
                _train(task, job)
            else:
                _scan(task, job)
    except _Declined as declined:
        store.decline(task, str(declined), job.record())


@dataclass(frozen=True)
class _Job:
    """Where and with what a task is done, since when, and who is told how far it is."""

    store: Store
    device: str
    report: Report
    conditions: Mapping[str, Any]
    started: float

    def record(self, native: bool = False, remarks: Sequence[str] = ()) -> dict[str, Any]:
        """What a result notes of how it was made; `native`: the compiled library was used."""
        return {
            **self.conditions,
            "native_library": self.conditions["native_library"] if native else None,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.started, 3),
            **({"remarks": remarks} if remarks else {}),
        }


class _Declined(Exception):  # noqa: N818 - not an error
    """A task cannot be done, and that is a result."""


def _train(task: Train, job: _Job) -> None:
    store, device = job.store, job.device
    recipe = task.recipe
    dataset = load(recipe.data, recipe.seed)
    job = replace(job, conditions={**job.conditions, "data": dataset.digest})
    network = draw(recipe, dataset.shape, dataset.classes)  # the only one: building a network takes long
    _check_own(recipe, network, dataset)
    start = _start(recipe, network, store)
    half_done = store.half_done(task, job.conditions)
    checkpoint, rows = half_done.training(start.state) or (start, [])
    evaluator = measuring(network, dataset, device)
    epochs = recipe.schedule.epochs
    saved = epoch_started = time.perf_counter()
    for progress in train(recipe, dataset, checkpoint, device, network):
        now = time.perf_counter()
        job.report(progress.step / progress.steps if progress.steps else 1.0)
        midway = progress.diverged and not progress.epoch_finished
        if (progress.epoch_finished and len(rows) < progress.epochs) or midway:
            epoch = len(rows)
            row: dict[str, float | int | None] = {
                "epoch": epoch,
                "train_loss": progress.loss,
                "train_error": progress.error,
                "test_loss": None,
                "test_error": None,
                "lr": learning_rate(recipe, max(progress.step - 1, 0), progress.per_epoch),
                "seconds": now - epoch_started,
            }
            if progress.ended or (epochs - 1 - epoch) % math.ceil(epochs / TEST_MEASUREMENTS) == 0:
                values = evaluator(progress.checkpoint().state)
                row["test_loss"] = float(values["test", "cross_entropy"].mean(dtype=np.float64))
                row["test_error"] = float(values["test", "error"].mean(dtype=np.float64))
            rows = [*rows, row]
            epoch_started = time.perf_counter()
        if progress.ended:
            native = recipe.optimizer.native
            note = {"native_convolutions": native, "diverged": progress.diverged}
            record = job.record(native, half_done.remarks) | note
            store.save_training(task, start.state, progress.checkpoint(), rows, record)
        elif now - saved >= SNAPSHOT_SECONDS:
            half_done.save_training(progress.checkpoint(), rows)
            saved = time.perf_counter()


def _scan(task: Scan, job: _Job) -> None:
    store, device = job.store, job.device
    recipe = task.end.recipe
    dataset = load(recipe.data, recipe.seed)
    job = replace(job, conditions={**job.conditions, "data": dataset.digest})
    _check_data(task, dataset, store)
    ends = {"start": state(task.start, store), "end": state(task.end, store)}
    for name, end in ends.items():
        if not all(map(is_finite, end.values())):
            raise _Declined(f"The line was not walked, as its {name} holds NaN or infinity: its training diverged.")
    network = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)  # values are overwritten
    _check_own(recipe, network, dataset)
    evaluator = measuring(network, dataset, device, task.train_examples, task.test_examples)
    path: Path = Line(ends["start"].to(device), ends["end"].to(device))
    if task.block:
        groups = by_convolution(evaluator.model) | by_block(evaluator.model)
        names = choose(groups, [task.block])[task.block]
        path = Only(path, names, fixed=path.at(1.0 if task.rest == "end" else 0.0))
    options = ScanOptions(alphas=task.alphas, batchnorm=task.batchnorm)
    counts = {name: sum(len(targets) for _, targets in batches) for name, batches in evaluator.data.items()}
    shapes = {
        (name, m, t): (count,) for name, count in counts.items() for m in evaluator.measures for t in task.batchnorm
    }
    half_done = store.half_done(task, job.conditions)
    points = half_done.points(options.positions, shapes)
    for point in walk(path, evaluator, options, done={point.alpha for point in points}):
        points.append(point)
        half_done.save_point(point)
        job.report(len(points) / len(options.positions))
    curve = collect(points, path, evaluator)
    store.save_curve(task, curve, job.record(evaluator.engine.compiled, half_done.remarks))


def _check_own(recipe: Recipe, network: nn.Module, dataset: Dataset) -> None:
    if isinstance(recipe.model, OwnModel):
        inputs = dataset.normalise(dataset.train.inputs[:4])
        models.check_own(recipe.model, network, inputs, dataset.classes)


def _check_data(task: Scan, dataset: Dataset, store: Store) -> None:
    """Raise `StoreError` if a line's data are not those that its end was trained on, where that was recorded."""
    trained = Train(task.end.recipe)
    seen = store.record(trained).get("data") if store.has(trained) else None
    if seen not in (None, dataset.digest):
        raise StoreError(
            f"The data set {dataset.name!r} is not what it was when the training {trained.key} saw it: its content has "
            "another digest, so the line would be measured on other data. Restore the data set, or delete that result."
        )


def state(moment: Moment, store: Store) -> State:
    """A training's start or end; a start is computed anew where its training was not done.

    Raises:
        StoreError: the training that it comes from is missing or damaged.
    """
    task = Train(moment.recipe)
    if moment.at == "end" or (store.has(task) and store.declined(task) is None):
        return store.state(moment)
    dataset = load(moment.recipe.data, moment.recipe.seed)
    return _start(moment.recipe, draw(moment.recipe, dataset.shape, dataset.classes), store).state


def _start(recipe: Recipe, network: nn.Module, store: Store) -> Checkpoint:
    """Where a training starts; `network` is its network as drawn, and is only read."""
    init = recipe.init
    if isinstance(init, Random):
        return Checkpoint(State.from_module(network))
    if isinstance(init, Weights):
        return Checkpoint(from_file(init, network))
    start, end = store.state(Moment(init.recipe, "start")), store.trained(init.recipe)
    if isinstance(init, Trained):
        return carried_over(init, network, start, end)
    series = store.curve(hump_line(init.recipe))["train", "cross_entropy"]
    height = float(hump(series.alphas, series.mean))
    if math.isnan(height):
        raise _Declined(
            "The training was not started: the loss is NaN somewhere on the line whose hump it starts from."
        )
    if height <= TOLERANCE:
        raise _Declined(
            f"The training was not started: it starts at the top of a hump, but on this run's line the training loss "
            f"has none above {TOLERANCE:g} nats (the highest is {height:.3f})."
        )
    return Checkpoint(at_barrier(start, end.state, series.alphas, series.mean))


def one_thread(device: str) -> AbstractContextManager[None]:
    """A context in which torch computes on the CPU with one thread; from now on the process keeps memory it frees."""
    memory.keep()
    return threads.using(1 if device == "cpu" else torch.get_num_threads())


@lru_cache(maxsize=2)
def load(spec: Data, seed: int) -> Dataset:
    """A recipe's data; the last two are cached, since a training and its lines follow each other."""
    return data.load(spec, seed)


def measuring(
    network: nn.Module, dataset: Dataset, device: str, train_examples: int | None = None, test_examples: int = 0
) -> Evaluator:
    """An evaluator of a data set.

    Args:
        network: its values do not count; it is put on the device, and copied there.
        dataset: what is measured on, normalised.
        device: where to measure.
        train_examples: class-balanced training examples, 0 for all; None measures none.
        test_examples: class-balanced test examples, 0 for all.
    """
    splits = {} if train_examples is None else {"train": dataset.train.take(train_examples)}
    splits["test"] = dataset.test.take(test_examples)
    layout = memory_layout(dataset)
    # Put on the device once, not at each position.
    measured = {
        name: (dataset.normalise(split.inputs.to(device)).contiguous(memory_format=layout), split.targets.to(device))
        for name, split in splits.items()
    }
    placed = network.to(device, memory_format=layout)  # type: ignore[call-overload]
    on_gpu = torch.device(device).type == "cuda"
    memory = GPU_SHARE * torch.cuda.get_device_properties(device).total_memory if on_gpu else CPU_MEMORY
    return Evaluator(placed, measured, memory=memory)
