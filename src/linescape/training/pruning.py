"""Pruning by magnitude: which weights of a network are left (Frankle et al. 2020, arXiv 1912.05671)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from linescape.errors import RecipeError
from linescape.geometry.state import State
from linescape.training.loop import Checkpoint

_PRUNED = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def prunable(network: nn.Module) -> tuple[str, ...]:
    """The names of the weights of a network's convolutions and linear layers, tied ones once.

    Raises:
        RecipeError: it has none.
    """
    parameters = dict(network.named_parameters())  # which has tied ones once
    layers = (name for name, layer in network.named_modules() if isinstance(layer, _PRUNED))
    names = tuple(name for layer in layers if (name := f"{layer}.weight".lstrip(".")) in parameters)
    if not names:
        raise RecipeError("The network has no convolution and no linear layer, so there is nothing to prune.")
    return names


def remaining(state: State, names: Sequence[str], density: float) -> dict[str, Tensor]:
    """Which weights are left: the largest in absolute value of all these tensors together.

    Args:
        state: whose weights decide.
        names: of the tensors that are pruned together.
        density: share of their weights that is left; the number is rounded. Of equal weights the first are left.

    Returns:
        By name, boolean tensors of the weights' shapes, True where a weight is left.
    """
    magnitudes = torch.cat([state[name].abs().flatten() for name in names])
    left = torch.zeros(len(magnitudes), dtype=torch.bool)
    left[magnitudes.argsort(descending=True, stable=True)[: round(density * len(magnitudes))]] = True
    parts = left.split([state[name].numel() for name in names])  # type: ignore[no-untyped-call]
    return {name: part.view(state[name].shape) for name, part in zip(names, parts, strict=True)}


def without(checkpoint: Checkpoint, masks: Mapping[str, Tensor]) -> Checkpoint:
    """A checkpoint whose weights and momenta are 0 where they are not left."""
    weights = {name: checkpoint.state[name] * mask for name, mask in masks.items()}
    optimizer = {
        key: value * masks[name] if value.ndim and (name := key.split("/", 1)[1]) in masks else value
        for key, value in checkpoint.optimizer.items()
    }
    return replace(checkpoint, state=checkpoint.state.replace(weights), optimizer=optimizer)
