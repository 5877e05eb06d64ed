"""Fully connected networks: `recipe.MLP`."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from linescape import recipe

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": nn.Identity}


class MLP(nn.Module):
    """Linear layers ``layers.0``, ``layers.1``, ... with norm (``norms.0``, ...) and activation between them.

    Inputs ``(batch, ...)`` are flattened. Layers are initialised as torch does.
    """

    blocks: dict[str, tuple[str, ...]]
    """``layer1``, ``layer2``, ... with their norms, and ``fc``, the last layer."""

    def __init__(self, spec: recipe.MLP, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        widths = (math.prod(shape), *spec.hidden, classes)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(_NORMS[spec.norm](width) for width in spec.hidden)
        self.activation = _ACTIVATIONS[spec.activation]
        hidden = range(len(spec.hidden))
        self.blocks = {f"layer{n + 1}": (f"layers.{n}", f"norms.{n}") for n in hidden}
        self.blocks["fc"] = (f"layers.{len(spec.hidden)}",)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        x = inputs.flatten(1)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x = self.activation(norm(layer(x)))
        logits: Tensor = self.layers[-1](x)
        return logits
