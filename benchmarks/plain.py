"""The loop that everybody writes, as well as it is usually written, and the same in float64 as the truth."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F

from benchmarks.contest import Losses
from benchmarks.pairs import Pair

BATCH = 128


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
                total += F.cross_entropy(network(x), y, reduction="sum").item()
            losses.append(total / len(pair.targets))
    return positions, losses


def truth(pair: Pair, positions: Sequence[float]) -> Losses:
    """The mean loss at each position by the textbook formula, weights, images and sums in float64."""
    network = copy.deepcopy(pair.network).eval().double()
    a, b = pair.start.dict(), pair.end.dict()
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
