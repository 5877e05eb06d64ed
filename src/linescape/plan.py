"""What a study would cost before it is run: how many tasks, how long, how much room."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable

import torch
from msgspec.structs import replace

from linescape import models
from linescape.data import Dataset
from linescape.do import TEST_MEASUREMENTS, load, measuring, one_thread
from linescape.recipe import Data, Random, Recipe, Schedule
from linescape.space import State
from linescape.store import Store
from linescape.study import Scan, Study, Task, Train, in_order
from linescape.train import steps_per_epoch, train

_TIMES = 4
_EXAMPLES = 500


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is wanted and what is missing of it.

    Attributes:
        trainings: trainings in all; `missing_trainings` of them are not done.
        scans: lines in all; `missing_scans` of them are not walked.
        seconds: about how long the missing ones take in one process, from a few timed steps of each network.
        bytes: about how much room they take on disk.
    """

    trainings: int
    missing_trainings: int
    scans: int
    missing_scans: int
    seconds: float
    bytes: int

    def __str__(self) -> str:
        if not self.missing_trainings + self.missing_scans:
            return f"{self.trainings} trainings and {self.scans} lines, all done"
        room = f"{self.bytes / 1e9:.1f} GB" if self.bytes >= 1e9 else f"{max(self.bytes, 1e6) / 1e6:.0f} MB"
        return (
            f"{self.missing_trainings} of {self.trainings} trainings and {self.missing_scans} of {self.scans} lines "
            f"to do, about {duration(self.seconds)} of one process and {room}"
        )


def plan(tasks: Study | Iterable[Task], store: Store, device: str = "cpu") -> Plan:
    """Count what is missing, time a few steps and one batch of each network among it, and multiply.

    Raises:
        RecipeError: a recipe is impossible.
        DataError: a data set is not there.
    """
    wanted = in_order(tasks.tasks() if isinstance(tasks, Study) else tasks)
    missing = [task for task in wanted if not store.has(task)]
    costs = _Costs(device)
    with one_thread(device):
        found = [costs.training(task.recipe) if isinstance(task, Train) else costs.scan(task) for task in missing]
    return Plan(
        trainings=sum(isinstance(task, Train) for task in wanted),
        missing_trainings=sum(isinstance(task, Train) for task in missing),
        scans=sum(isinstance(task, Scan) for task in wanted),
        missing_scans=sum(isinstance(task, Scan) for task in missing),
        seconds=sum(seconds for seconds, _ in found),
        bytes=sum(room for _, room in found),
    )


def duration(seconds: float) -> str:
    """A time in words, in the unit that suits it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


class _Costs:
    """Seconds and bytes of tasks; each network is timed once. Seed 0 stands for all: sizes do not depend on it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.per_step: dict[Recipe, float] = {}
        self.per_example: dict[Recipe, float] = {}

    def training(self, recipe: Recipe) -> tuple[float, int]:
        dataset = load(recipe.data, 0)
        steps = steps_per_epoch(len(dataset.train), recipe.optimizer.batch_size) * recipe.schedule.epochs
        tested = min(TEST_MEASUREMENTS, recipe.schedule.epochs) * len(dataset.test)
        seconds = steps * self._step(recipe, dataset) + tested * self._example(recipe, dataset)
        copies = {"sgd": 2 + (recipe.optimizer.momentum > 0)}.get(recipe.optimizer.name, 4)  # start, end, moments
        return seconds, copies * _size(recipe, dataset)

    def scan(self, task: Scan) -> tuple[float, int]:
        recipe = task.end.recipe
        dataset = load(recipe.data, 0)
        train_examples = min(task.train_examples or len(dataset.train), len(dataset.train))
        examples = train_examples + len(dataset.test)
        passes = examples * len(task.batchnorm) + train_examples * ("recalibrate" in task.batchnorm)
        seconds = (task.alphas * passes + 2 * examples) * self._example(recipe, dataset)
        return seconds, task.alphas * examples * len(task.batchnorm) * 2 * 4  # loss and error as float32

    def _step(self, recipe: Recipe, dataset: Dataset) -> float:
        plain = replace(recipe, schedule=Schedule(epochs=_TIMES + 1), init=Random(), seed=0)
        key = replace(plain, data=_form(plain.data), optimizer=replace(recipe.optimizer, lr=0.0, weight_decay=0.0))
        if key not in self.per_step:
            start = State.of(models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0))
            steps = train(replace(plain, optimizer=key.optimizer), dataset, start, self.device)
            next(steps), next(steps)  # the first step also allocates
            self.per_step[key] = _shortest(lambda: next(steps))
        return self.per_step[key]

    def _example(self, recipe: Recipe, dataset: Dataset) -> float:
        key = Recipe(replace(_form(recipe.data), augment="none"), recipe.model)
        if key not in self.per_example:
            few = dataclasses.replace(dataset, test=dataset.test.take(_EXAMPLES))
            evaluator = measuring(recipe, few, self.device)
            evaluator.measure("interpolate", {})
            self.per_example[key] = _shortest(lambda: evaluator.measure("interpolate", {})) / len(few.test)
        return self.per_example[key]


def _shortest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of a few runs: whatever else the machine does makes a run slower, never faster."""
    took = []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        run()
        took.append(time.perf_counter() - begun)
    return min(took)


def _form(spec: Data) -> Data:
    """What of the data a step's time depends on."""
    return replace(spec, fraction=1.0, label_noise=0.0, poison=None)


def _size(recipe: Recipe, dataset: Dataset) -> int:
    with torch.device("meta"):
        network = models.build(recipe.model, dataset.shape, dataset.classes)
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())
