"""Drawn inputs, and modules with drawn tensors; shared by tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inputs(shape: tuple[int, ...], batch: int = 4) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


def randomise(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    for value in module.state_dict().values():
        if value.dtype.is_floating_point:
            value.copy_(torch.rand(value.shape, generator=generator) - 0.2)
    return module.state_dict()
