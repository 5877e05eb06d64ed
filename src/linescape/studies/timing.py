"""How long a step and an example take, timed on made-up inputs while all cores do the same.

Cores share memory and clock, so a network is slower where its neighbours work too: this is how `work` will run. On the
CPU it is the process's own time that counts: with four other programs on two cores the clock on the wall said 23 to 64
ms for a run of 24 ms, and nobody knows whether they run on. By how much they slow it down now is told apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from queue import SimpleQueue
from statistics import median
from threading import Thread
from typing import Literal

import msgspec
import torch

from linescape import models
from linescape.data import Dataset, Split
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import Random, Recipe, Schedule
from linescape.studies.execute import measuring, one_thread
from linescape.training.loop import train

ENOUGH = 0.6
"""Seconds of timed runs after which no more are made."""

POSITIONS = 50
"""Of a line, which decide whether its network is taken as a graph."""

_ENDLESS = 1_000_000_000


class Run(msgspec.Struct, frozen=True):
    """What is timed: one training step, or one measurement of some examples.

    Attributes:
        kind: ``step`` (one batch of the recipe) or ``pass`` (forward only, with the measures).
        recipe: the network, and for a step the optimizer and augmentation; its schedule, start and seed do not count.
        shape: of one input.
        classes: outputs of the network.
        examples: measured by a ``pass``.
    """

    kind: Literal["step", "pass"]
    recipe: Recipe
    shape: tuple[int, ...]
    classes: int
    examples: int = 0


class Timer(AbstractContextManager["Timer"]):
    """Times runs, with `beside` other processes at the same run meanwhile; they end with this one.

    Attributes:
        own: seconds that all timed runs took.
        wall: seconds that passed meanwhile, more if other programs use the cores.
    """

    def __init__(self, device: str, beside: int) -> None:
        self.device, self.beside = device, beside
        self.own = self.wall = 0.0
        self.helpers: list[subprocess.Popen[bytes]] = []

    def seconds(self, run: Run) -> float:
        """Median time of one run; the first third, which also allocates and warms caches, does not count.

        Raises:
            RecipeError: the network or its optimizer is impossible.
        """
        with one_thread(self.device):
            call = _ready(run, self.device)
            self._join(run)
            clock = time.process_time if self.device == "cpu" else time.perf_counter
            begun, took = time.perf_counter(), list[float]()
            while not took or sum(took) < ENOUGH:
                own = clock()
                call()
                took.append(clock() - own)
            self.own, self.wall = self.own + sum(took), self.wall + time.perf_counter() - begun
            return median(took[len(took) // 3 :])

    def _join(self, run: Run) -> None:
        command = [sys.executable, "-c", "from linescape.studies.timing import help_out; help_out()"]
        while len(self.helpers) < self.beside:
            # A session of their own: Ctrl-C reaches this process, which then ends them.
            self.helpers.append(
                subprocess.Popen(  # noqa: S603 - our own interpreter and text
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        for helper in self.helpers:
            assert helper.stdin is not None
            with suppress(BrokenPipeError):  # it died; this process goes on without it
                helper.stdin.write(msgspec.json.encode((self.device, run)) + b"\n")
                helper.stdin.flush()
        for helper in self.helpers:
            assert helper.stdout is not None
            helper.stdout.readline()  # it is at it

    def __exit__(self, *_: object) -> None:
        for helper in self.helpers:
            helper.kill()
        for helper in self.helpers:
            helper.communicate()


def help_out() -> None:
    """What a helper does: the run that it was told last on standard input, again and again, while that is open."""
    told: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            told.put(line)
        os._exit(0)

    Thread(target=listen, daemon=True).start()
    while True:
        device, run = msgspec.json.decode(told.get(), type=tuple[str, Run])
        with one_thread(device):
            call = _ready(run, device)
            sys.stdout.write("\n")
            sys.stdout.flush()
            while told.empty():
                call()


def made_up(run: Run) -> Dataset:
    """As many random inputs as a few batches need; counts of examples are the plan's."""
    count = max(2 * run.recipe.optimizer.batch_size, run.examples)
    random = torch.Generator().manual_seed(0)
    if len(run.shape) == 3:
        inputs = torch.randint(256, (count, *run.shape), dtype=torch.uint8, generator=random)
    else:
        inputs = torch.randn(count, *run.shape, generator=random)
    split = Split(inputs, torch.arange(count) % run.classes)
    channels = run.shape[0]
    return Dataset(run.recipe.data.name, split, split, run.classes, (0.5,) * channels, (0.25,) * channels)


def _ready(run: Run, device: str) -> Callable[[], object]:
    """A call that does the run once; it was called before, as the first one also allocates."""
    dataset = made_up(run)
    if run.kind == "step":
        start = State.from_module(models.draw(run.recipe.model, run.shape, run.classes, Random(), seed=0))
        steps = train(msgspec.structs.replace(run.recipe, schedule=Schedule(_ENDLESS)), dataset, start, device)
        next(steps), next(steps)  # the starting point, then a step
        return lambda: next(steps)
    evaluator = measuring(run.recipe, dataset, device, test_examples=run.examples)
    ends = [
        State.from_module(models.draw(run.recipe.model, run.shape, run.classes, Random(), seed)).to(device)
        for seed in (0, 1)
    ]
    line = Line(*ends)
    evaluator.start_path(line, POSITIONS)

    def position() -> None:
        evaluator.load_position(line, 0.5)
        evaluator.measure("interpolate", {})

    position()
    return position
