"""What tasks consist of: steps and measurements that are timed, and the operations that each counts.

No data are read: sizes follow from what is known of each set.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from linescape import data, models
from linescape.evaluation import batchnorm
from linescape.recipe import (
    Data,
    Midway,
    Model,
    Moment,
    OnCurve,
    Optimizer,
    Recipe,
    Remaining,
    Subspace,
    Trained,
    Trains,
    title,
)
from linescape.studies.tasks import Keep
from linescape.studies.timing import Workload
from linescape.training.loop import steps_per_epoch
from linescape.training.projections import PROJECTIONS

TASK = 0.07
"""Seconds of any task for drawing the network and flushing files to the disk."""

READING = 60e6
"""Bytes of stored images that are read, averaged down and normalised per second."""

_HEAVY = 5e10
"""Multiplications of a timed call on the CPU, at most, a second or so: large networks are timed on fewer examples."""

_FEWEST = 4
"""Examples that are timed at least: of fewer, BatchNorm has hardly any statistics."""

_PER_SECOND, _PER_CALL = 5e10, 2e-3
"""Multiplications a second, and seconds of any call besides: of an imagined core, on which networks are compared."""

_BATCH = 250  # the evaluator's


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one task costs: how often it does each workload, seconds besides, bytes, and whether a workload is a part.

    Workloads leave out settings that do not change a time, so that few are timed.
    """

    calls: Mapping[Workload, float]
    fixed: float
    bytes: int
    scaled: bool = False

    def seconds(self, times: Mapping[Workload, float]) -> float:
        """Of the task, where each workload takes so many seconds."""
        return self.fixed + sum(number * times[workload] for workload, number in self.calls.items())


def beginning(recipe: Recipe) -> float:
    """Seconds of any task with a recipe before and after it computes."""
    known = data.stored(recipe.data)
    return TASK + sum(known.examples) * math.prod(known.shape) / READING


def step(recipe: Recipe, device: str) -> tuple[Workload, float]:
    """A step to time, and how many of it are a step of a training."""
    return _step(recipe.data, recipe.model, recipe.optimizer, recipe.trains, device)


@cache  # many trainings have the same steps, and checking a recipe takes long
def _step(spec: Data, model: Model, optimizer: Optimizer, trains: Trains, device: str) -> tuple[Workload, float]:
    size = min(optimizer.batch_size, data.examples(spec)[0])
    few = _few(spec, model, 3, size, device)  # forward, and twice as much backward
    if few < size:
        small = Optimizer(lr=0.0, batch_size=few, precision=optimizer.precision, native=optimizer.native)
        return _workload("step", Recipe(_plain(spec), model, small), spec), size / few
    treated = replace(_plain(spec), augment=spec.augment, mixup=spec.mixup)
    alike = Recipe(treated, model, replace(optimizer, lr=0.0, weight_decay=0.0, batch_size=size))
    return _workload("step", _training(alike, trains), spec), 1.0


def _training(recipe: Recipe, trains: Trains) -> Recipe:
    """The recipe with what is trained, which each step computes with; from where and by what changes no time."""
    if isinstance(trains, OnCurve):
        return replace(recipe, trains=trains, init=Midway(Moment(recipe), Moment(recipe)))
    return replace(recipe, trains=Remaining(Moment(recipe), 1.0) if isinstance(trains, Remaining) else trains)


def measurement(recipe: Recipe, device: str) -> Workload:
    """A measurement of some examples of a recipe's data, to time."""
    return _measurement(recipe.data, recipe.model, device)


def is_scaled(measured: Workload) -> bool:
    """Whether a measurement is of fewer examples than are measured at once."""
    return measured.examples < 2 * _BATCH


@cache
def _measurement(spec: Data, model: Model, device: str) -> Workload:
    count = _few(spec, model, 1, 2 * _BATCH, device)
    return _workload("pass", Recipe(_plain(spec), model), spec, count)


def _few(spec: Data, model: Model, passes: int, examples: int, device: str) -> int:
    """How many of these examples are timed; a GPU is always timed on whole batches."""
    if torch.device(device).type != "cpu":
        return examples
    multiplications = _built(model, _plain(spec), *data.form(spec)).multiplications
    fits = int(_HEAVY / (1 + passes * multiplications))
    return min(examples, max(fits, _FEWEST))


def _workload(kind: Literal["step", "pass"], recipe: Recipe, form: Data, examples: int = 0) -> Workload:
    # Leaving out classes changes only the last layer.
    return Workload(kind, recipe, data.form(form)[0], data.stored(form).classes, examples)


@cache
def _plain(spec: Data) -> Data:
    """The data without what changes no time: treatments, other than the size of one's own images."""
    return Data(spec.name, size=spec.size if spec.own else 0, own=spec.own)


def per_epoch(recipe: Recipe) -> int:
    """The number of steps in an epoch."""
    return steps_per_epoch(data.examples(recipe.data)[0], recipe.optimizer.batch_size)


def step_of(moment: Moment) -> int:
    """The step of a moment, where a training that continues another starts with that of the other."""
    recipe, init = moment.recipe, moment.recipe.init
    if moment.at == "start":
        return step_of(init.moment) if isinstance(init, Trained) and init.schedule == "continued" else 0
    if moment.at in ("end", "best"):  # the best is known at the end
        return per_epoch(recipe) * recipe.schedule.epochs
    return Keep(moment).step(per_epoch(recipe))


def approximate_call(workload: Workload) -> float:
    """Seconds of one workload on the imagined core."""
    examples = 3 * workload.recipe.optimizer.batch_size if workload.kind == "step" else workload.examples
    counted = _built(workload.recipe.model, _plain(workload.recipe.data), workload.shape, workload.classes)
    projected = _projecting(workload.recipe.trains, counted.bytes // 4) if workload.kind == "step" else 0
    return _PER_CALL + (examples * counted.multiplications + projected) / _PER_SECOND


def _projecting(trains: Trains, weights: int) -> int:
    """Multiplications of a step for the projection of a subspace and its transpose."""
    if not isinstance(trains, Subspace):
        return 0
    return 2 * PROJECTIONS[trains.projection].multiplications(weights, trains.dimension)


def describe(model: Model) -> str:
    """A network in a few words, such as ``ResNet-18 of width 64``."""
    depth, width = (getattr(model, name, None) for name in ("depth", "width"))
    return title(model) + (f"-{depth}" if depth else "") + (f" of width {width}" if width else "")


@dataclasses.dataclass(frozen=True)
class Network:
    """What is counted of a network.

    Attributes:
        multiplications: of its forward pass of one example.
        layers: calls of convolutions, linear and recurrent layers in it.
        norms: whether it has BatchNorm.
        bytes: of its state.
    """

    multiplications: int
    layers: int
    norms: bool
    bytes: int


def network(recipe: Recipe) -> Network:
    """What is counted of a recipe's network."""
    return _built(recipe.model, _plain(recipe.data), *data.form(recipe.data))


@cache
def _built(model: Model, spec: Data, shape: tuple[int, ...], classes: int) -> Network:
    outline = models.outline(model, shape, classes)
    device = next(outline.parameters()).device
    inputs = data.load(spec).tensors()["test"][0][:4] if spec.own else torch.zeros(4, *shape)
    models.check(model, outline, inputs, classes)
    multiplications: list[int] = []

    def count(layer: nn.Module, _: object, outputs: Any) -> None:
        outputs = outputs if isinstance(outputs, Tensor) else outputs[0].data  # of a recurrent layer, packed or not
        positions = outputs[0, 0].numel() if isinstance(layer, nn.Conv2d) else outputs.numel() // outputs.shape[-1]
        multiplications.append(sum(part.numel() for part in layer.parameters() if part.ndim > 1) * positions)

    for layer in outline.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.RNNBase):
            layer.register_forward_hook(count)
    outline.eval()(inputs[:1].to(device))
    size = sum(value.numel() * value.element_size() for value in outline.state_dict().values())
    return Network(sum(multiplications), len(multiplications), bool(batchnorm.layers(outline)), size)
