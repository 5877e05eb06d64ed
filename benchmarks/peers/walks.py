"""One line by each peer, by its documented interface, batched as well as that allows.

Each function takes both networks in eval mode and batches of 128, and gives a function: number of positions -> the
positions that the peer measures and the losses that it reports. Imports are inside, as each environment has one peer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batches = Sequence[tuple[Tensor, Tensor]]
Walk = Callable[[int], tuple[Sequence[float], Sequence[float]]]


def mean_loss(network: Callable[[Tensor], Tensor], batches: Batches) -> Tensor:
    """Mean cross-entropy over the examples of all batches, for peers that take a loss function of one's own."""
    total = torch.zeros(())
    for inputs, targets in batches:
        total += F.cross_entropy(network(inputs), targets, reduction="sum")
    return total / sum(len(targets) for _, targets in batches)


def loss_landscapes(start: nn.Module, end: nn.Module, batches: Batches) -> Walk:
    """`linear_interpolation`; its own `Loss` takes one batch, so a `Metric` of one's own loops over them.

    It freezes the weights, so no gradients are kept. It is told to copy the networks, as it would overwrite the first.
    """
    import loss_landscapes
    from loss_landscapes.metrics.metric import Metric

    class Loss(Metric):  # type: ignore[misc]
        def __call__(self, wrapped: Any) -> float:
            return mean_loss(wrapped.forward, batches).item()

    def walk(alphas: int) -> tuple[Sequence[float], Sequence[float]]:
        losses = loss_landscapes.linear_interpolation(start, end, Loss(), steps=alphas, deepcopy_model=True)
        # It steps before it measures: the first position is 1 / steps, and alpha = 0 is never measured.
        return [(step + 1) / alphas for step in range(alphas)], [float(loss) for loss in losses]

    return walk


def loss_landscape_3d(start: nn.Module, end: nn.Module, batches: Batches) -> Walk:
    """`calculate_1d_path`; state dicts are copied first, since a live one would change under it."""
    from loss_landscape_3d import LossLandscapeCalculator

    first, last = copy.deepcopy(start.state_dict()), copy.deepcopy(end.state_dict())

    def walk(alphas: int) -> tuple[Sequence[float], Sequence[float]]:
        positions = np.linspace(0, 1, alphas)
        calculator = LossLandscapeCalculator(start, batches, nn.CrossEntropyLoss())
        return positions.tolist(), [float(loss) for loss in calculator.calculate_1d_path(positions, first, last)]

    return walk


def nngeom(start: nn.Module, end: nn.Module, batches: Batches) -> Walk:
    """`lossland.linear_interpolation`; a batch is what the loss function takes it for, here all batches."""
    import nngeom as ng

    models = [ng.Model(network, loss_fn=mean_loss, name=name) for network, name in ((start, "start"), (end, "end"))]

    def walk(alphas: int) -> tuple[Sequence[float], Sequence[float]]:
        curve = ng.lossland.linear_interpolation(*models, batches, steps=alphas)
        return curve.alphas.tolist(), curve.losses.tolist()

    return walk


WALKS = {"loss-landscapes": loss_landscapes, "loss-landscape-3d": loss_landscape_3d, "nngeom": nngeom}
