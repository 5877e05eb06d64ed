"""Fully connected networks: `recipe.MLP`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from linescape import recipe

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": nn.Identity}


class MLP(nn.Module):
    """Linear layers ``layers.0``, ``layers.1``, ... with norm (``norms.0``, ...) and activation between them.

    Inputs ``(batch, ...)`` are flattened. Layers are initialised as torch does. A hidden layer of maxout units has
    ``width * pieces`` outputs, those of a unit side by side, and its norm is of all of them.
    """

    blocks: dict[str, tuple[str, ...]]
    """``layer1``, ``layer2``, ... with their norms, and ``fc``, the last layer."""

    def __init__(self, spec: recipe.MLP, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        pieces = spec.pieces if spec.activation == "maxout" else 1
        outputs = (*(width * pieces for width in spec.hidden), classes)
        biases = (*(spec.bias != "none" for _ in spec.hidden), spec.bias == "all")
        sizes = zip((math.prod(shape), *spec.hidden), outputs, biases, strict=True)
        self.layers = nn.ModuleList(nn.Linear(before, after, bias) for before, after, bias in sizes)
        self.norms = nn.ModuleList(_NORMS[spec.norm](width * pieces) for width in spec.hidden)
        self.activation = _ACTIVATIONS.get(spec.activation, partial(_maxout, pieces=pieces))
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


def _maxout(outputs: Tensor, pieces: int) -> Tensor:
    """Units ``(batch, width)``, each the largest of its pieces."""
    return torch.unflatten(outputs, 1, (-1, pieces)).amax(2)
