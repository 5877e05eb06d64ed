"""What a study will cost before it is run: number of tasks, time, disk space, and the data sets that are missing.

No data are read: sizes follow from what is known of each set, times from `linescape.studies.timing`.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from linescape import data, models
from linescape.data import sets
from linescape.engine.threads import cores
from linescape.errors import CheckpointError
from linescape.evaluation import batchnorm
from linescape.recipe import Data, Model, Moment, Optimizer, Recipe, Trained, Weights
from linescape.studies.job import conditions
from linescape.studies.store import Store
from linescape.studies.study import Keep, Scan, Study, Task, Train, in_order
from linescape.studies.timing import Timer, Workload
from linescape.studies.trainings import TEST_MEASUREMENTS, differing
from linescape.training import weight_files
from linescape.training.loop import steps_per_epoch

JOINING = 7.0
"""Seconds until helpers join: `work` starts them only after a while, and each imports torch."""

TASK = 0.07
"""Seconds of any task for drawing the network and flushing files to the disk."""

POINT = 0.002
"""Seconds of any position for loading the network's weights and writing the point."""

READING = 60e6
"""Bytes of stored images that are read, averaged down and normalised per second."""

_HEAVY = 5e10
"""Multiplications on the CPU, about a second, from which on fewer examples are timed and the time is scaled up."""

_FEW = 32
"""That number of examples. For one example of 16 a ResNet-18 takes 1.13 times as long as for one of 128, of 32 1.04."""

_BATCH = 250  # the evaluator's

_NOTABLE = 1.15
"""Factor of slowing down from which on the plan mentions it."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tasks of a study, and what the missing ones cost.

    Attributes:
        trainings: number of all trainings; `missing_trainings` of them are not done.
        scans: number of all lines; `missing_scans` of them are not walked.
        states: number of all states within trainings; `missing_states` of them are not kept.
        repeated: number of finished trainings that are repeated in part, for states within them that were not kept.
        repeat_seconds: estimated sum of the times of that, which is part of `core_seconds`.
        core_seconds: estimated sum of the times of the missing ones, each on one core, or on the GPU.
        seconds: estimated time of all of them in parallel.
        processes: number of parallel processes that `work` would use.
        bytes: estimated disk space of their results.
        absent: data sets and weights that they need and that are missing, each with the command that gets it.
        scaled: networks that were timed on fewer examples than they will be run on.
        slowed: factor by which other programs that use the cores slow everything down at present.
    """

    trainings: int
    missing_trainings: int
    scans: int
    missing_scans: int
    states: int = 0
    missing_states: int = 0
    repeated: int = 0
    repeat_seconds: float = 0.0
    core_seconds: float = 0.0
    seconds: float = 0.0
    processes: int = 1
    bytes: int = 0
    absent: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    slowed: float = 1.0

    def __str__(self) -> str:
        if not self.missing_trainings + self.missing_scans + self.missing_states:
            return f"{self.trainings} trainings and {self.scans} lines, all done"
        size = f"{self.bytes / 1e9:.1f} GB" if self.bytes >= 1e9 else f"{max(self.bytes, 1e6) / 1e6:.0f} MB"
        time = f"{duration(self.core_seconds)} of computing"
        if self.processes > 1:
            time += f", {duration(self.seconds)} with {self.processes} processes side by side"
        lines = [
            f"{self.missing_trainings} of {self.trainings} trainings and {self.missing_scans} of {self.scans} lines "
            f"to do, shared ones counted once: about {time}, and {size} of disk"
        ]
        if self.missing_states:
            lines.append(f"{self.missing_states} of {self.states} states within trainings are to be kept")
        if self.repeated:
            lines.append(
                f"{self.repeated} finished trainings kept no such state, and are repeated up to there: about "
                f"{duration(self.repeat_seconds)} of that computing"
            )
        if self.slowed > _NOTABLE:
            lines.append(f"Other programs use the cores now: while they run, it takes {self.slowed:.1f} times as long")
        if self.scaled:
            lines.append(f"Timed on {_FEW} examples and scaled to the whole batch: {', '.join(self.scaled)}")
        return "\n".join([*lines, *(f"Not here yet: {what}" for what in self.absent)])


def plan(tasks: Study | Iterable[Task], store: Store, device: str = "cpu", workers: int | None = None) -> Plan:
    """Count the missing tasks, time a few steps and measurements of each of their networks, and multiply.

    Args:
        tasks: a study, or any tasks.
        store: where results are.
        device: the device that is timed.
        workers: number of processes, as in `linescape.studies.run.work`.

    Raises:
        RecipeError: a recipe is impossible.
        DataError: a fraction of the data is too small for one batch.
    """
    wanted = in_order(tasks.tasks() if isinstance(tasks, Study) else tasks)
    missing = [task for task in wanted if not store.has(task)]
    processes = max(1, min(workers or cores(device), len(missing)))
    steps = _steps_to_states(missing, store, device)
    with Timer(device, processes - 1) as timer:
        costs = _Costs(timer, device)
        estimates = {task: costs.of(task, steps) for task in missing}
    repeats = [estimates[keep][0] for keep in steps if store.has(Train(keep.recipe))]
    seconds = {task: time for task, (time, _) in estimates.items()}
    return Plan(
        trainings=sum(isinstance(task, Train) for task in wanted),
        missing_trainings=sum(isinstance(task, Train) for task in missing),
        scans=sum(isinstance(task, Scan) for task in wanted),
        missing_scans=sum(isinstance(task, Scan) for task in missing),
        states=sum(isinstance(task, Keep) for task in wanted),
        missing_states=sum(isinstance(task, Keep) for task in missing),
        repeated=len(repeats),
        repeat_seconds=sum(repeats),
        core_seconds=sum(seconds.values()),
        seconds=side_by_side(seconds, processes),
        processes=processes,
        bytes=sum(size for _, size in estimates.values()),
        absent=_absent(missing),
        scaled=tuple(costs.scaled),
        slowed=timer.wall / timer.own if timer.own else 1.0,
    )


def duration(seconds: float) -> str:
    """A time in seconds, minutes, hours or days, whichever suits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def side_by_side(seconds: Mapping[Task, float], processes: int) -> float:
    """When the last task ends if each process takes the first task whose needs are done; helpers join late.

    Args:
        seconds: the time of each task, in order; needs that are not among them are done.
        processes: number of processes.
    """
    ends: dict[Task, float] = {}
    free = [0.0, *[JOINING] * (processes - 1)]
    waiting = list(seconds)
    while waiting:
        now = heapq.heappop(free)
        ready = next((task for task in waiting if all(_done(need, seconds, ends, now) for need in task.needs())), None)
        if ready is None:  # this process waits until the next task ends
            heapq.heappush(free, min(end for end in ends.values() if end > now))
            continue
        waiting.remove(ready)
        ends[ready] = now + seconds[ready]
        heapq.heappush(free, ends[ready])
    return max(ends.values(), default=0.0)


def _done(need: Task, seconds: Mapping[Task, float], ends: Mapping[Task, float], now: float) -> bool:
    return need not in seconds or ends.get(need, math.inf) <= now


class _Costs:
    """Seconds and bytes of tasks. Workloads leave out settings that do not change a time, so that few are timed."""

    def __init__(self, timer: Timer, device: str) -> None:
        self.timer, self.device = timer, device
        self.timed: dict[Workload, float] = {}
        self.scaled: dict[str, None] = {}

    def of(self, task: Task, steps: Mapping[Keep, int]) -> tuple[float, int]:
        """Seconds and bytes of one task; `steps` are those of runs to states within trainings."""
        recipe = _recipe(task)
        if isinstance(task, Scan):
            seconds, size = self._scan(task)
        elif isinstance(task, Train):
            seconds, size = self._training(recipe)
        else:
            size = (_copies(recipe) - 1) * _network(recipe).bytes
            if task not in steps:
                return 0.0, size
            seconds = steps[task] * self._step(recipe)
        known = sets.known(recipe.data.name)
        return seconds + TASK + sum(known.examples) * math.prod(known.shape) / READING, size

    def _training(self, recipe: Recipe) -> tuple[float, int]:
        test, epochs = data.examples(recipe.data)[1], recipe.schedule.epochs
        seconds = (_step_of(Moment(recipe)) - _step_of(Moment(recipe, "start"))) * self._step(recipe)
        if epochs:
            seconds += math.ceil(epochs / math.ceil(epochs / TEST_MEASUREMENTS)) * test * self._example(recipe)
        return seconds, _copies(recipe) * _network(recipe).bytes

    def _scan(self, task: Scan) -> tuple[float, int]:
        recipe = task.end.recipe
        train, test = data.examples(recipe.data)
        train = min(task.train_examples or train, train)
        measured = train + min(task.test_examples or test, test)
        passes = measured
        if _network(recipe).norms:  # without, all treatments are one
            passes = measured * len(task.batchnorm) + train * ("recalibrate" in task.batchnorm)
        ends = 2 * measured * bool({"interpolate", "start", "end"} & set(task.batchnorm))  # checked by evaluation
        seconds = (task.alphas * passes + ends) * self._example(recipe) + task.alphas * POINT
        return seconds, task.alphas * measured * len(task.batchnorm) * 2 * 4  # loss and error as float32

    def _step(self, recipe: Recipe) -> float:
        """Seconds of a step."""
        size = min(recipe.optimizer.batch_size, data.examples(recipe.data)[0])
        if size > _FEW and self._heavy(recipe, 3 * size):  # forward, and twice as much backward
            few = Optimizer(
                lr=0.0, batch_size=_FEW, precision=recipe.optimizer.precision, native=recipe.optimizer.native
            )
            plain = Recipe(Data(recipe.data.name), recipe.model, few)
            return self._time("step", plain, recipe.data) * size / _FEW
        form = Data(recipe.data.name, augment=recipe.data.augment, mixup=recipe.data.mixup)
        optimizer = replace(recipe.optimizer, lr=0.0, weight_decay=0.0, batch_size=size)
        return self._time("step", Recipe(form, recipe.model, optimizer), recipe.data)

    def _example(self, recipe: Recipe) -> float:
        """Seconds of measuring one example."""
        count = _FEW if self._heavy(recipe, _BATCH) else 2 * _BATCH
        return self._time("pass", Recipe(Data(recipe.data.name), recipe.model), recipe.data, count) / count

    def _heavy(self, recipe: Recipe, passes: int) -> bool:
        """Whether this many forward passes take long on the CPU; a GPU is always timed on whole batches."""
        heavy = self.device == "cpu" and passes * _network(recipe).multiplications > _HEAVY
        if heavy:
            self.scaled[_describe(recipe.model)] = None
        return heavy

    def _time(self, kind: Literal["step", "pass"], recipe: Recipe, form: Data, count: int = 0) -> float:
        # Leaving out classes changes only the last layer.
        workload = Workload(kind, recipe, data.form(form)[0], sets.known(form.name).classes, count)
        if workload not in self.timed:
            self.timed[workload] = self.timer.seconds(workload)
        return self.timed[workload]


def _steps_to_states(missing: Sequence[Task], store: Store, device: str) -> dict[Keep, int]:
    """Steps of the runs to missing states within trainings that are not to be done anyway.

    One run keeps all states of a training, so it is that to the last of them. Of a training that is finished it goes on
    to the end of an epoch, where it is compared with the log, or to its end, where last bits may be others.
    """
    furthest: dict[Recipe, Keep] = {}
    for keep in (task for task in missing if isinstance(task, Keep)):
        furthest[keep.recipe] = max(furthest.get(keep.recipe, keep), keep, key=lambda keep: _step_of(keep.moment))
    trained, steps = {task.recipe for task in missing if isinstance(task, Train)}, {}
    for recipe, keep in furthest.items():
        if recipe not in trained:
            start, step, end = (_step_of(moment) for moment in (Moment(recipe, "start"), keep.moment, Moment(recipe)))
            epoch = _per_epoch(recipe)
            if store.has(Train(recipe)):
                other = device != "cpu" or differing(recipe, store.record(Train(recipe)), conditions(device))
                step = end if other else min((step // epoch + 1) * epoch, end)
            steps[keep] = step - start
    return steps


def _per_epoch(recipe: Recipe) -> int:
    return steps_per_epoch(data.examples(recipe.data)[0], recipe.optimizer.batch_size)


def _step_of(moment: Moment) -> int:
    """The step of a moment, where a training that continues another starts with that of the other."""
    init = moment.recipe.init
    if moment.at == "start":
        return _step_of(init.moment) if isinstance(init, Trained) and init.schedule == "continued" else 0
    epochs = moment.recipe.schedule.epochs
    return _per_epoch(moment.recipe) * epochs if moment.at == "end" else Keep(moment).step(_per_epoch(moment.recipe))


def _copies(recipe: Recipe) -> int:
    """How many tensors for each weight a training leaves: start, end, and the optimizer's."""
    return {"sgd": 2 + (recipe.optimizer.momentum > 0)}.get(recipe.optimizer.name, 4)


def _recipe(task: Task) -> Recipe:
    return task.end.recipe if isinstance(task, Scan) else task.recipe


def _absent(tasks: Iterable[Task]) -> tuple[str, ...]:
    recipes = [_recipe(task) for task in tasks]
    names = dict.fromkeys(recipe.data.name for recipe in recipes)
    files = dict.fromkeys(recipe.init.file for recipe in recipes if isinstance(recipe.init, Weights))
    return (
        *(f"the data set {name}. Get it with: linescape data get {name}" for name in names if not _has_data(name)),
        *(f"the weights {file}. Put them into {weight_files.folder()}" for file in files if not _has_weights(file)),
    )


def _has_data(name: str) -> bool:
    return sets.known(name).make is not None or sets.locate(name) is not None


def _has_weights(file: str) -> bool:
    try:
        weight_files.find(file)
    except CheckpointError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class _Network:
    """Multiplications of a network's forward pass of one example, whether it has BatchNorm, and bytes of its state."""

    multiplications: int
    norms: bool
    bytes: int


def _network(recipe: Recipe) -> _Network:
    return _built(recipe.model, *data.form(recipe.data))


@cache
def _built(model: Model, shape: tuple[int, ...], classes: int) -> _Network:
    with torch.device("meta"):  # without values, so that it takes no memory
        network = models.build(model, shape, classes)
    multiplications: list[int] = []

    def count(layer: nn.Module, _: object, outputs: Tensor) -> None:
        multiplications.append(layer.get_parameter("weight").numel() * outputs[0, 0].numel())  # for each position

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    network.eval()(torch.empty(1, *shape, device="meta"))
    size = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    return _Network(sum(multiplications), bool(batchnorm.layers(network)), size)


def _describe(model: Model) -> str:
    depth, width = (getattr(model, name, None) for name in ("depth", "width"))
    return type(model).__name__ + (f"-{depth}" if depth else "") + (f" of width {width}" if width else "")
