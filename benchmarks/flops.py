"""How many operations a network does for one image: two for each multiply-add of its convolutions and linear layers.

Norms, activations and pooling are left out, as in the counts that papers print; they are a percent or two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def count(network: nn.Module, image: Tensor) -> float:
    """Operations for one image ``(1, ...)``."""
    found = 0.0

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal found
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Each number that comes out is a sum over all weights of its channel or unit.
            found += 2 * output.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(add) for layer in network.modules()]
    try:
        with torch.inference_mode():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found
