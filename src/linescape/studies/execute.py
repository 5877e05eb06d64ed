"""Does one task: trains a recipe or walks a line, from where it was stopped, and keeps the result in a store.

A task that cannot be done, since what it starts from diverged, is settled as declined: that is its result.

On the CPU a task computes with one thread. So its bits do not depend on the number of cores, and small networks lose
nothing: more threads than idle cores make them ten times slower. Cores are for tasks side by side: see `work`.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from linescape import data, models
from linescape.data import Dataset
from linescape.engine import compiler, memory
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block, by_convolution, choose
from linescape.geometry.paths import Line, Only, Path
from linescape.geometry.state import State, is_finite
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, walk
from linescape.recipe import Data, Random, Recipe, Trained, Weights
from linescape.shape import TOLERANCE, hump
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Task, Train, hump_line
from linescape.training.initialisation import at_barrier, carried_over, drawn, from_file
from linescape.training.loop import Checkpoint, learning_rate, memory_layout, train

SNAPSHOT_SECONDS = 10.0
"""Seconds of training that a kill may cost; a snapshot is written no more often."""

TEST_MEASUREMENTS = 5
"""Epochs of a training at which the test half is measured, evenly spread, the last among them."""

KEPT = 5e8
"""Bytes of activations that a line may keep on the CPU: as many lines are walked side by side as there are cores."""

KEPT_SHARE = 1 / 16
"""Share of a GPU's memory that a line may keep: with 8 GB as much as on the CPU."""

Report = Callable[[float], None]
"""Told how much of a task is done, from 0 to 1."""


def do(task: Task, store: Store, device: str = "cpu", report: Report = lambda _: None) -> None:
    """Do one task, from where it was stopped if it was begun; its needs must be settled.

    Raises:
        StoreError: the store cannot be written, or a need is missing or damaged.
        LinescapeError: the task is impossible.
    """
    begun = time.perf_counter()
    about = {
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device,
        "compiler": compiler() is not None,  # on the CPU, bits differ with and without
        "versions": {
            "linescape": version("linescape"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }

    def finished() -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {**about, "finished": now, "seconds": round(time.perf_counter() - begun, 3)}

    try:
        for need in task.needs():
            if (reason := store.declined(need)) is not None:
                raise _Declined(reason)
        with one_thread(device):
            if isinstance(task, Train):
                _train(task, store, device, report, finished)
            else:
                _scan(task, store, device, report, finished)
    except _Declined as declined:
        store.decline(task, str(declined), finished())


class _Declined(Exception):  # noqa: N818 - not an error
    """A task cannot be done, and that is a result."""


def _train(task: Train, store: Store, device: str, report: Report, finished: Callable[[], dict[str, Any]]) -> None:
    recipe = task.recipe
    dataset = load(recipe.data, recipe.seed)
    start = _start(recipe, dataset, store)
    checkpoint, rows = store.resume(task) or (start, [])
    evaluator = measuring(recipe, dataset, device)
    epochs = recipe.schedule.epochs
    saved = epoch_begun = time.perf_counter()
    for progress in train(recipe, dataset, checkpoint, device):
        now = time.perf_counter()
        report(progress.step / progress.steps if progress.steps else 1.0)
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
                "seconds": now - epoch_begun,
            }
            if progress.ended or (epochs - 1 - epoch) % math.ceil(epochs / TEST_MEASUREMENTS) == 0:
                found = evaluator(progress.checkpoint().state)
                row["test_loss"] = float(found["test", "cross_entropy"].mean(dtype=np.float64))
                row["test_error"] = float(found["test", "error"].mean(dtype=np.float64))
            rows = [*rows, row]
            epoch_begun = time.perf_counter()
        if progress.ended:
            about = {**finished(), "diverged": progress.diverged}
            store.save_training(task, start.state, progress.checkpoint(), rows, about)
        elif now - saved >= SNAPSHOT_SECONDS:
            store.save_resume(task, progress.checkpoint(), rows)
            saved = time.perf_counter()


def _scan(task: Scan, store: Store, device: str, report: Report, finished: Callable[[], dict[str, Any]]) -> None:
    recipe = task.end.recipe
    dataset = load(recipe.data, recipe.seed)
    ends = {"start": state(task.start, store), "end": state(task.end, store)}
    for at, held in ends.items():
        if not all(map(is_finite, held.values())):
            raise _Declined(f"The line was not walked, as its {at} holds NaN or infinity: its training diverged.")
    evaluator = measuring(recipe, dataset, device, task.train_examples, task.test_examples)
    path: Path = Line(ends["start"].to(device), ends["end"].to(device))
    if task.block:
        groups = by_convolution(evaluator.model) | by_block(evaluator.model)
        names = choose(groups, [task.block])[task.block]
        path = Only(path, names, fixed=path.at(1.0 if task.rest == "end" else 0.0))
    options = ScanOptions(alphas=task.alphas, batchnorm=task.batchnorm)
    points = store.points(task)
    for point in walk(path, evaluator, options, done={point.alpha for point in points}):
        points.append(point)
        store.save_point(task, point)
        report(len(points) / len(options.positions))
    store.save_curve(task, collect(points, path, evaluator), finished())


def state(moment: Moment, store: Store) -> State:
    """A training's start or end; a start is worked out anew where its training was not done.

    Raises:
        StoreError: what it comes from is missing or damaged.
    """
    task = Train(moment.recipe)
    if moment.at == "end" or (store.has(task) and store.declined(task) is None):
        return store.state(moment)
    return _start(moment.recipe, load(moment.recipe.data, moment.recipe.seed), store).state


def _start(recipe: Recipe, dataset: Dataset, store: Store) -> Checkpoint:
    init = recipe.init
    if isinstance(init, Random):
        return Checkpoint(drawn(recipe, dataset.shape, dataset.classes))
    if isinstance(init, Weights):
        return Checkpoint(from_file(recipe, init, dataset.shape, dataset.classes))
    start, end = store.state(Moment(init.recipe, "start")), store.trained(init.recipe)
    if isinstance(init, Trained):
        return carried_over(recipe, init, dataset.shape, dataset.classes, start, end)
    series = store.curve(hump_line(init.recipe))["train", "cross_entropy"]
    height = float(hump(series.alphas, series.mean))
    if math.isnan(height):
        raise _Declined("The training was not begun: the loss is NaN somewhere on the line whose hump it starts from.")
    if height <= TOLERANCE:
        raise _Declined(
            f"The training was not begun: it starts at the top of a hump, but on this run's line the training loss has "
            f"none above {TOLERANCE:g} nats (the highest is {height:.3f})."
        )
    return Checkpoint(at_barrier(start, end.state, series.alphas, series.mean))


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Torch computes on the CPU with one thread inside; the process keeps the memory that it frees, from now on."""
    memory.keep()
    before = torch.get_num_threads()
    torch.set_num_threads(1 if device == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=2)
def load(spec: Data, seed: int) -> Dataset:
    """A recipe's data; the last two are kept, as a training and its lines follow each other."""
    return data.load(spec, seed)


def measuring(
    recipe: Recipe, dataset: Dataset, device: str, train_examples: int | None = None, test_examples: int = 0
) -> Evaluator:
    """An evaluator of so many test examples (0 is all), and of so many training examples if they are asked for."""
    model = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)  # the values are overwritten
    splits = {} if train_examples is None else {"train": dataset.train.take(train_examples)}
    splits["test"] = dataset.test.take(test_examples)
    layout = memory_layout(dataset)
    # On the device once, and not again at each position.
    measured = {
        name: (dataset.normalise(split.inputs.to(device)).contiguous(memory_format=layout), split.targets.to(device))
        for name, split in splits.items()
    }
    placed = model.to(device, memory_format=layout)  # type: ignore[call-overload]
    on_gpu = torch.device(device).type == "cuda"
    memory = KEPT_SHARE * torch.cuda.get_device_properties(device).total_memory if on_gpu else KEPT
    return Evaluator(placed, measured, memory=memory)
