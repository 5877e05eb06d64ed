"""Fully connected networks: `recipe.MLP`."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from linescape import recipe
from linescape.errors import RecipeError, suggest

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
        if any(width < 1 for width in spec.hidden):
            raise RecipeError(f"Hidden widths are {spec.hidden}. Give one unit or more for each hidden layer.")
        if spec.activation not in _ACTIVATIONS:
            raise RecipeError(f"There is no activation {spec.activation!r}. {suggest(spec.activation, _ACTIVATIONS)}")
        if spec.norm not in _NORMS:
            raise RecipeError(f"An MLP has no normalisation {spec.norm!r}. {suggest(spec.norm, _NORMS)}")
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
