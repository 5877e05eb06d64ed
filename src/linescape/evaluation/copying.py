"""Copies of a network: with tensors of their own, or with everything but its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from torch import Tensor, nn


def independent(network: nn.Module) -> nn.Module:
    """A copy that shares nothing with a network.

    Unlike `copy.deepcopy`, it takes networks with tensors that were computed from others and have a gradient function,
    as those of weight_norm, spectral_norm and pruning after a training step. Raises whatever the network's parts raise.
    """
    return deepcopy(network, _computed(network))


def renewed(network: nn.Module) -> nn.Module:
    """A copy with the network's own parameters and saved buffers, but with attributes, caches and hooks of its own.

    It takes no memory for weights. Raises whatever the network's own parts raise.
    """
    saved = network.state_dict(keep_vars=True).values()
    kept = {id(tensor): tensor for tensor in (*network.parameters(), *saved) if isinstance(tensor, Tensor)}
    return deepcopy(network, _computed(network) | kept)


def _computed(network: nn.Module) -> dict[int, Any]:
    """For `deepcopy`, which refuses them: tensors in attributes that are results of others, and their copies."""
    tensors = (tensor for layer in network.modules() for tensor in _tensors(vars(layer), 3))
    return {id(tensor): tensor.detach().clone() for tensor in tensors if not tensor.is_leaf}


def _tensors(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part, depth - 1)
