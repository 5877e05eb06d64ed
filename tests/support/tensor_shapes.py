"""Names and shapes of the tensors of networks, without their numbers; shared by tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from linescape import models
from linescape.recipe import Model

Shapes = dict[str, tuple[int, ...]]


def meta(spec: Model, shape: tuple[int, ...] = (3, 32, 32), classes: int = 1000) -> Any:
    with torch.device("meta"):
        return models.build(spec, shape, classes)


def shapes(network: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def batch_norm(name: str, channels: int) -> Shapes:
    four = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**four, f"{name}.num_batches_tracked": ()}
