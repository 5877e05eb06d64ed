"""Curves of low loss between two networks of the user's, trained on the user's data (Garipov et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linescape.errors import DataError, MeasureError, RecipeError, suggest
from linescape.geometry.bezier import Bezier
from linescape.geometry.given import Network, as_ends
from linescape.geometry.paths import Bend, Line
from linescape.geometry.state import State
from linescape.training.step import seeded
from linescape.training.what_is_trained import COEFFICIENTS, OfCurve


def curve_between(
    start: Network,
    end: Network,
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    epochs: int,
    lr: float,
    kind: Literal["bezier", "chain"] = "bezier",
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    seed: int = 0,
) -> Bezier | Bend:
    """Train a curve between two networks so that the loss along it is low.

    Each step of SGD takes the loss of a batch at a position of the curve drawn uniformly from (0, 1), and its gradient
    goes to the bend, which begins midway between both networks (Garipov et al. 2018, arXiv 1802.10026). The rate falls
    to 0 along a cosine. The networks themselves are not changed. With BatchNorm, measure the curve with statistics
    re-estimated at each position: ``ScanOptions(batchnorm="recalibrate")``.

    Args:
        start: the network at alpha = 0: a module, or its state.
        end: the network at alpha = 1.
        network: a network of their kind, which is copied; its device is the one that is trained on.
        batches: inputs and targets on any device, such as a `DataLoader`; gone through once in each epoch.
        epochs: passes over the batches, 1 or more.
        lr: learning rate at the beginning.
        kind: ``bezier``, a quadratic Bezier curve, or ``chain``, two straight pieces that meet at the bend.
        momentum: of SGD, in [0, 1).
        weight_decay: factor of half the sum of squares of the weights on the curve, which is added to the loss.
        loss: (outputs, targets) -> mean loss of the batch.
        seed: of positions, and of what the network draws, such as dropout.

    Returns:
        The curve, a path to `scan` as any other.

    Raises:
        StateError: the networks do not fit together.
        DataError: there are no batches, or they are gone after the first epoch.
        MeasureError: the loss became NaN or infinite.
        RecipeError: a setting is impossible.
    """
    if kind not in COEFFICIENTS:
        raise RecipeError(f"There is no curve of kind {kind!r}. {suggest(str(kind), COEFFICIENTS)}")
    if epochs < 1 or not 0 < lr < math.inf or not 0 <= momentum < 1 or not 0 <= weight_decay < math.inf:
        raise RecipeError(
            f"epochs is {epochs}, lr {lr}, momentum {momentum} and weight_decay {weight_decay}, with which no curve "
            "can be trained. Give 1 epoch or more, a positive rate, a momentum in [0, 1) and a decay of 0 or more."
        )
    first, last = as_ends(start, end)
    module = deepcopy(network)
    Line(first, last).at(0.5).load_into(module)
    module.train()
    device = next(module.parameters()).device
    trained = OfCurve(first, last, kind)
    parameters = trained.bind(module, weight_decay)
    optimizer = torch.optim.SGD(parameters.values(), lr=lr, momentum=momentum)
    draws = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        steps = 0
        for inputs, targets in batches:
            position_seed, network_seed = torch.randint(2**62, (2,), generator=draws).tolist()
            optimizer.zero_grad()
            with seeded(network_seed, device), trained.step(position_seed):
                value = loss(module(inputs.to(device)), targets.to(device))
                if not math.isfinite(found := float(value.detach())):
                    raise MeasureError(
                        f"The loss on the curve became {found} in epoch {epoch + 1}, so it cannot be trained "
                        "further. Give a smaller lr."
                    )
                value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
        if not steps:
            raise DataError(
                f"batches has none in epoch {epoch + 1}, so nothing is trained on. Give something that can be gone "
                "through in each epoch, such as a DataLoader or a list of (inputs, targets)."
            )
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1.0 + math.cos(math.pi * (epoch + 1) / epochs))
    bend = State.from_module(module)
    return Bezier(first, bend, last) if kind == "bezier" else Bend([first, bend, last])
