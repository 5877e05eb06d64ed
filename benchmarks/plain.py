"""The loop that everybody writes, as well as it is usually written, and the same in float64 as the truth.

In a contest it runs in a process of its own: whatever another contender does to the memory of its process may change
its time by half.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F

from benchmarks import contest
from benchmarks.contest import Contender, Losses, Walk
from benchmarks.pairs import Pair

BATCH = 128


@contextmanager
def apart(pair: Pair) -> Iterator[Contender]:
    """The loop as a contender, in a process that ends with the context."""
    spawn = torch.multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    child = spawn.Process(target=_serve, args=(there, pair, torch.get_num_threads()), daemon=True)
    child.start()

    def walk(alphas: int) -> Walk:
        here.send(alphas)
        found = here.recv()
        assert isinstance(found, Walk)
        return found

    try:
        yield walk
    finally:
        child.terminate()
        child.join()


def _serve(there: Connection, pair: Pair, threads: int) -> None:
    torch.set_num_threads(threads)
    walk = contest.timed(lambda alphas: loop(pair, alphas))
    while True:
        there.send(walk(there.recv()))


def loop(pair: Pair, alphas: int, moving: Iterable[str] | None = None) -> Losses:
    """Interpolate in place, evaluate in eval mode without gradients, in batches of 128, in float32.

    `moving` are the tensors that move, the others rest at the end; all by default.
    """
    network = copy.deepcopy(pair.network).eval()
    slots = network.state_dict()
    moved = [name for name in (slots if moving is None else moving) if slots[name].dtype.is_floating_point]
    positions = torch.linspace(0, 1, alphas).tolist()
    losses = []
    with torch.no_grad():
        for alpha in positions:
            for name in moved:
                torch.lerp(pair.start[name], pair.end[name], alpha, out=slots[name])
            total = 0.0
            for x, y in zip(torch.split(pair.inputs, BATCH), torch.split(pair.targets, BATCH), strict=True):
                total += F.cross_entropy(network(x).flatten(0, -2), y.flatten(), reduction="sum").item()
            losses.append(total / pair.targets.numel())
    return positions, losses


def truth(pair: Pair, positions: Sequence[float]) -> Losses:
    """The mean loss at each position by the textbook formula, weights, images and sums in float64."""
    network = copy.deepcopy(pair.network).eval().double()
    a, b = pair.start.state_dict(), pair.end.state_dict()
    losses = []
    with torch.no_grad():
        for alpha in positions:
            mixed = {n: (1 - alpha) * a[n].double() + alpha * b[n].double() for n in b if b[n].is_floating_point()}
            network.load_state_dict({**b, **mixed})
            total = 0.0
            for x, y in zip(torch.split(pair.inputs, BATCH), torch.split(pair.targets, BATCH), strict=True):
                total += F.cross_entropy(network(x.double()), y, reduction="sum").item()
            losses.append(total / len(pair.targets))
    return positions, losses
