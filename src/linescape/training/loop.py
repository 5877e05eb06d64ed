"""Trains a recipe, step by step. The loop yields its progress; it does not save, print or evaluate.

Every random number is drawn from the recipe and the number of the epoch or the step. So a `Checkpoint` (weights,
buffers, optimizer state, step) is all that is needed to continue with the same bits.

Data are kept on the device as they are stored; a batch is augmented and normalised there. A last batch of one example
is left out, since BatchNorm cannot normalise it. A loss that is NaN or infinite ends the training, whose result is then
that it diverged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from linescape import models
from linescape.data import Dataset, Mixed, augment, mix
from linescape.errors import DataError, RecipeError
from linescape.geometry.state import State, is_finite
from linescape.recipe import Everything, Random, Recipe, Schedule, seeds
from linescape.training.step import Step
from linescape.training.what_is_trained import COORDINATES, WhatIsTrained


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training after `step` steps, with all that is needed to continue it.

    Attributes:
        state: the network.
        step: steps done since the beginning.
        optimizer: the optimizer's tensors by ``slot/parameter``, such as ``momentum_buffer/conv1.weight``; of a
            training in a subspace also its coordinates, as the slot ``value``.
        loss_sum: training loss so far in the epoch, summed over `seen` examples, in nats.
        wrong: how many of them were misclassified.
        seen: examples seen so far in the epoch.
    """

    state: State
    step: int = 0
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    loss_sum: float = 0.0
    wrong: int = 0
    seen: int = 0


@dataclass
class Progress:
    """How far a training is. Call `checkpoint` before asking for the next one, which changes the network.

    Attributes:
        step: steps done since the beginning.
        steps: steps of the whole training.
        per_epoch: steps of an epoch.
        diverged: the loss of the next step, or a tensor at the end, is NaN or infinite; the training is over.
        ended: the training is over: all steps are done, the training error is low enough
            (`recipe.Schedule.until_error`), or it diverged.
        loss: mean training loss of the epoch so far, in nats, as it occurred in training (on augmented examples, with
            changing weights); NaN before the first step.
        error: training error likewise, in %.
    """

    step: int
    steps: int
    per_epoch: int
    diverged: bool
    ended: bool
    loss: float
    error: float
    _lost: bool
    _training: _TrainingState

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return self.step // self.per_epoch

    @property
    def epoch_finished(self) -> bool:
        """The last step was its epoch's last."""
        return self.step > 0 and self.step % self.per_epoch == 0 and not self._lost

    def checkpoint(self) -> Checkpoint:
        """A copy of the training as it is now, on the CPU."""
        return self._training.copy(self.step)


def train(
    recipe: Recipe,
    dataset: Dataset,
    start: State | Checkpoint,
    device: torch.device | str = "cpu",
    network: nn.Module | None = None,
    trained: WhatIsTrained | None = None,
) -> Iterator[Progress]:
    """Train a recipe; yields the starting point first, then after every step.

    Args:
        recipe: what to train; its `init` is not used.
        dataset: the recipe's data.
        start: theta_0, or a checkpoint of this training to continue from, to the bit.
        device: where to train. On the CPU of one machine bits repeat with the same number of threads; a GPU may add in
            another order each time, and multiplies float32 in TF32.
        network: a network of the recipe's model that is trained in place of a new one; its values are overwritten.
        trained: how its weights follow from what is trained, where that is not all of them (`recipe.Recipe.trains`).

    Raises:
        RecipeError: the recipe asks for native convolutions, and this device or machine has none; or it trains
            something else than all weights, and `trained` does not say how they follow.
        DataError: there are too few examples for one step.
        StateError: the start is not a state of the recipe's model.
    """
    start = Checkpoint(start) if isinstance(start, State) else start
    per_epoch = steps_per_epoch(len(dataset.train), recipe.optimizer.batch_size)
    steps = per_epoch * recipe.schedule.epochs
    if trained is None and not isinstance(recipe.trains, Everything):
        raise RecipeError(
            f"The recipe trains {recipe.trains}, but it was not said how the network's weights follow from that. Give "
            "it as `trained`, or have a study do the training."
        )

    module = network or models.draw(recipe.model, dataset.shape, dataset.classes, Random(), seed=0)
    start.state.load_into(module)
    layout = torch.contiguous_format if overruns(module, device) else memory_layout(dataset)
    module.to(device, memory_format=layout).train()  # type: ignore[call-overload]
    do_step = Step(module, recipe.optimizer, device, steps, trained)
    training = _TrainingState(module, do_step.parameters, do_step.optimizer, start.loss_sum, start.wrong, start.seen)
    training.restore(start.optimizer)

    step, seed = start.step, seeds(recipe.ordering)
    progress = training.progress(recipe.schedule, step, steps, per_epoch)
    yield progress
    if progress.ended:
        return
    batches = _batches(recipe, dataset, device, layout, range(step, steps))
    batch = next(batches, None)
    while batch is not None:
        if step % per_epoch == 0:
            training.loss_sum, training.wrong, training.seen = 0.0, 0, 0
        metrics = do_step(batch, learning_rate(recipe, step, per_epoch), seed("forward", step), seed("weights", step))
        examples, batch = len(batch.targets), next(batches, None)  # a GPU may still be at the step meanwhile
        loss, wrong = metrics.tolist()
        training.loss_sum += loss * examples
        training.wrong += int(wrong)
        training.seen += examples
        lost = not math.isfinite(loss)
        step += not lost
        progress = training.progress(recipe.schedule, step, steps, per_epoch, lost)
        yield progress
        if progress.ended:
            return


def _batches(
    recipe: Recipe, dataset: Dataset, device: torch.device | str, layout: torch.memory_format, steps: range
) -> Iterator[Mixed]:
    """The batches of these steps, augmented, normalised and mixed, on the device."""
    inputs, targets = dataset.train.inputs.to(device), dataset.train.targets.to(device)
    size = recipe.optimizer.batch_size
    per_epoch, order, seed = steps_per_epoch(len(inputs), size), torch.empty(0), seeds(recipe.ordering)
    for index in steps:
        epoch, position = divmod(index, per_epoch)
        if position == 0 or not len(order):
            generator = torch.Generator().manual_seed(seed("order", epoch))
            order = torch.randperm(len(inputs), generator=generator).to(device)
        batch = order[position * size : (position + 1) * size]
        generator = torch.Generator().manual_seed(seed("augment", index))
        images = dataset.normalise(augment(inputs[batch], recipe.data.augment, generator)).contiguous(
            memory_format=layout
        )
        yield mix(images, targets[batch], recipe.data.mixup, seed("mixup", index))


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Batches in one pass over the examples; a last batch of a single example is left out, unless all batches are.

    Raises:
        DataError: there is only one example.
    """
    full, rest = divmod(examples, batch_size)
    steps = full + (rest > 1)
    if not steps:
        raise DataError(
            f"There is {examples} training example, but a batch needs two. Keep a larger fraction of the data."
        )
    return steps


def memory_layout(dataset: Dataset) -> torch.memory_format:
    """The layout in which networks are fastest on these inputs: channels last for images, a third faster on the CPU."""
    return torch.channels_last if len(dataset.shape) == 3 else torch.contiguous_format


def overruns(network: nn.Module, device: torch.device | str) -> bool:
    """Whether gradients of a network would be written beyond their memory if channels were last.

    oneDNN 3.12, of torch 2.13, does that on processors with AVX2 but without AVX-512, in the gradient of the weights of
    1x1 convolutions with a stride and fewer than 7 input channels: the process then aborts, at best.
    """
    if torch.device(device).type != "cpu" or torch.cpu._is_avx512_supported():
        return False
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(
        layer.kernel_size == (1, 1) and layer.stride != (1, 1) and layer.in_channels < 8 for layer in convolutions
    )


def learning_rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """The learning rate of a (0-based) step, as `recipe.Schedule` says."""
    return recipe.optimizer.lr * _rate(recipe.schedule, step, per_epoch)


def _rate(schedule: Schedule, step: int, per_epoch: int) -> float:
    """The learning rate of a step as a share of the optimizer's."""
    factor = 1.0
    if schedule.kind == "step":
        factor = schedule.factor ** sum(step // per_epoch >= drop for drop in schedule.drops)
    elif schedule.kind == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * step / (per_epoch * schedule.epochs)))
    if step < (rising := schedule.warmup * per_epoch):
        factor *= (step + 1) / (rising + 1)  # not 0 at the first step, which would do nothing
    return factor


@cache  # computed for each run of a study, few of which differ in it
def _sum_of_rates(schedule: Schedule, per_epoch: int) -> float:
    return sum(_rate(schedule, step, per_epoch) for step in range(per_epoch * schedule.epochs))


def decay_sum(recipe: Recipe, examples: int) -> float:
    """How much a training by SGD shrinks its weights: the sum over its steps of rate x decay / (1 - momentum).

    A weight whose loss gradient is zero ends at about exp(-sum) of its first value. So this sum, not the decay alone,
    has to be equal for weight decay to act alike in trainings of different length, rate or batch size. With the target
    study's settings, as far as they are known, it is 7.16. Trainings that end early
    (`recipe.Schedule.until_error`) are counted whole.

    Args:
        recipe: the training.
        examples: its training examples.

    Returns:
        The sum, without unit; NaN for Adam and AdamW, whose steps are not proportional to the gradient.

    Raises:
        DataError: there are too few examples for one step.
    """
    spec = recipe.optimizer
    if spec.name != "sgd":
        return math.nan
    rates = spec.lr * _sum_of_rates(recipe.schedule, steps_per_epoch(examples, spec.batch_size))
    return rates * spec.weight_decay / (1 - spec.momentum)


@dataclass
class _TrainingState:
    """The network and optimizer of a running training, and the metrics of its epoch."""

    module: nn.Module
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    loss_sum: float
    wrong: int
    seen: int

    def progress(self, schedule: Schedule, step: int, steps: int, per_epoch: int, lost: bool = False) -> Progress:
        """How far the training is after `step` steps; `lost`: the loss of the next one is NaN or infinite."""
        error = 100.0 * self.wrong / self.seen if self.seen else math.nan
        learnt = step > 0 and step % per_epoch == 0 and schedule.until_error > 0 and error <= schedule.until_error
        last = step >= steps or learnt
        diverged = lost or (last and not self.finite())
        return Progress(
            step=step,
            steps=steps,
            per_epoch=per_epoch,
            diverged=diverged,
            ended=last or diverged,
            loss=self.loss_sum / self.seen if self.seen else math.nan,
            error=error,
            _lost=lost,
            _training=self,
        )

    def copy(self, step: int) -> Checkpoint:
        optimizer = {
            f"{slot}/{name}": value.detach().to("cpu", copy=True)
            for name, parameter in self.parameters.items()
            for slot, value in self.optimizer.state[parameter].items()
            if isinstance(value, Tensor)
        }
        if COORDINATES in self.parameters:
            optimizer[f"value/{COORDINATES}"] = self.parameters[COORDINATES].detach().to("cpu", copy=True)
        return Checkpoint(
            State.from_module(self.module).to("cpu"), step, optimizer, self.loss_sum, self.wrong, self.seen
        )

    def restore(self, optimizer: Mapping[str, Tensor]) -> None:
        for key, value in optimizer.items():
            slot, name = key.split("/", 1)
            parameter = self.parameters[name]
            restored = value.to(parameter.device, copy=True)
            if value.shape == parameter.shape and value.ndim:
                restored = torch.empty_like(parameter, requires_grad=False).copy_(value)  # in the parameter's layout
            if slot == "value":
                parameter.data.copy_(restored)
            else:
                self.optimizer.state[parameter][slot] = restored

    def finite(self) -> bool:
        return all(map(is_finite, self.module.state_dict().values()))
