"""How long a training step and a measurement take, timed on random inputs while all cores do the same.

Cores share memory and clock, so a network is slower where its neighbours work too, as they do in `work`. On the CPU the
time is the process's own, not that of the clock: with four other programs on two cores the clock showed 23 to 64 ms for
a run of 24 ms, and whether those programs continue is unknown. By how much they slow everything down now is measured
apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

import msgspec
import torch
from torch import nn

from linescape import data, models
from linescape.data import Dataset, Split
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import OnCurve, Random, Recipe, Remaining, Schedule, Subspace, Trains
from linescape.studies.job import measuring, one_thread
from linescape.studies.processes import Processes, messages, reply
from linescape.training.loop import train
from linescape.training.pruning import prunable
from linescape.training.what_is_trained import OfCurve, OfRemaining, OfSubspace, WhatIsTrained

ENOUGH = 0.6
"""Seconds of timed calls after which there are enough."""

POSITIONS = 50
"""Positions of a line, on which it depends whether the network is traced as a graph."""

_ENDLESS = 1_000_000_000


class Workload(msgspec.Struct, frozen=True):
    """What is timed: one training step, or one measurement of some examples.

    Attributes:
        kind: ``step`` (one batch of the recipe) or ``pass`` (forward only, with the measures).
        recipe: the network, and for a step the optimizer, augmentation and what is trained; its schedule, start and
            seed do not count.
        shape: of one input.
        classes: outputs of the network.
        examples: measured by a ``pass``.
    """

    kind: Literal["step", "pass"]
    recipe: Recipe
    shape: tuple[int, ...]
    classes: int
    examples: int = 0


class Timer(Processes):
    """Times workloads while `helpers` other processes do the same.

    Attributes:
        own: total seconds of all timed calls.
        wall: seconds that passed meanwhile, more than `own` if other programs use the cores.
    """

    def __init__(self, device: str, helpers: int) -> None:
        super().__init__("linescape.studies.timing:help_out")
        self.device, self.helpers = device, helpers
        self.own = self.wall = 0.0

    def seconds(self, workload: Workload) -> float:
        """Median time of one call; the first third, which also allocates and warms caches, does not count.

        Raises:
            RecipeError: the network is impossible for these inputs.
        """
        with one_thread(self.device):
            call = _prepared(workload, self.device)
            self.start(self.helpers)
            self.send(msgspec.json.encode((self.device, workload)))
            self.wait()
            clock = time.process_time if self.device == "cpu" else time.perf_counter
            started, times = time.perf_counter(), list[float]()
            while not times or sum(times) < ENOUGH:
                before = clock()
                call()
                times.append(clock() - before)
            self.own, self.wall = self.own + sum(times), self.wall + time.perf_counter() - started
            return median(times[len(times) // 3 :])


def help_out() -> None:
    """The function of a helper: does the workload of the latest message again and again."""
    queue = messages()
    while True:
        device, workload = msgspec.json.decode(queue.get(), type=tuple[str, Workload])
        with one_thread(device):
            call = _prepared(workload, device)
            reply()
            while queue.empty():
                call()


def made_up(workload: Workload) -> Dataset:
    """A data set of random inputs, as many as a few batches or the measurement need; one's own data are repeated."""
    count = max(2 * workload.recipe.optimizer.batch_size, workload.examples)
    if workload.recipe.data.own:
        own = data.load(workload.recipe.data)
        split = own.train.at(torch.arange(count) % len(own.train))
        return Dataset(own.name, split, split, own.classes, own.mean, own.std)
    random = torch.Generator().manual_seed(0)
    if len(workload.shape) == 3:
        inputs = torch.randint(256, (count, *workload.shape), dtype=torch.uint8, generator=random)
    else:
        inputs = torch.randn(count, *workload.shape, generator=random)
    split = Split(inputs, torch.arange(count) % workload.classes)
    channels = workload.shape[0]
    return Dataset(workload.recipe.data.name, split, split, workload.classes, (0.5,) * channels, (0.25,) * channels)


def _prepared(workload: Workload, device: str) -> Callable[[], object]:
    """A function that does the workload once; it was called once already, since the first call also allocates."""
    dataset = made_up(workload)
    trains = workload.recipe.trains
    seeds = (0,) if workload.kind == "step" and not isinstance(trains, OnCurve) else (0, 1)
    networks = [models.draw(workload.recipe.model, workload.shape, workload.classes, Random(), seed) for seed in seeds]
    if workload.kind == "step":
        recipe = msgspec.structs.replace(workload.recipe, schedule=Schedule(_ENDLESS))
        states = [State.from_module(network) for network in networks]
        steps = train(recipe, dataset, states[0], device, networks[0], _what_is_trained(trains, states, networks[0]))
        next(steps), next(steps)  # the starting point, then a step
        return lambda: next(steps)
    start, end = (State.from_module(network).to(device) for network in networks)
    evaluator = measuring(networks[0], dataset, device, test_examples=workload.examples)
    line = Line(start, end)
    evaluator.start_path(line, POSITIONS)

    def position() -> None:
        evaluator.load_position(line, 0.5)
        evaluator.measure("interpolate", {})

    position()
    return position


def _what_is_trained(trains: Trains, states: Sequence[State], network: nn.Module) -> WhatIsTrained:
    """As a study's training has it, from states that are at hand."""
    if isinstance(trains, OnCurve):
        return OfCurve(states[0], states[1], trains.kind)
    if isinstance(trains, Subspace):
        return OfSubspace(states[0], trains, seed=0)
    if isinstance(trains, Remaining):
        return OfRemaining({name: torch.ones_like(states[0][name], dtype=torch.bool) for name in prunable(network)})
    return WhatIsTrained()
