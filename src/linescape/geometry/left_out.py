"""What a network's outputs may depend on and its state dict does not hold.

No line moves these things. Where they differ between two networks, a network on the line between them has those of the
network that it was made of, so a result names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Scalar = bool | int | float | str | None


def unsaved(module: nn.Module) -> dict[str, Tensor | Scalar]:
    """What a network's state dict does not hold, by name; its tensors are shared, not copied.

    Buffers that are not persistent, and public attributes that are numbers, texts or tensors, or lists and dictionaries
    of tensors and of modules that are not registered.
    """
    found: dict[str, Tensor | Scalar] = {}
    for path, layer in module.named_modules():
        prefix = f"{path}." if path else ""
        for name in getattr(layer, "_non_persistent_buffers_set", ()):
            if (buffer := layer._buffers.get(name)) is not None:
                found[prefix + name] = buffer
        for name, value in vars(layer).items():
            if not name.startswith("_") and name != "training" and not _computed(layer, name):
                found.update(_leaves(prefix + name, value))
    return found


def unregistered(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of modules in plain lists and dictionaries, and parameters there, by name (shared)."""
    found: dict[str, Tensor] = {}
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if not name.startswith("_") and isinstance(value, list | tuple | dict):
                leaves = _leaves(f"{path}.{name}" if path else name, value, within=False).items()
                found.update({leaf: tensor for leaf, tensor in leaves if isinstance(tensor, Tensor)})
    return found


def differing(left: Mapping[str, Tensor | Scalar], right: Mapping[str, Tensor | Scalar]) -> tuple[str, ...]:
    """Names of what two networks do not save and that is not equal in both, in order."""
    return tuple(
        name
        for name in dict.fromkeys([*left, *right])
        if name not in left or name not in right or not _equal(left[name], right[name])
    )


def _computed(layer: nn.Module, name: str) -> bool:
    """Whether an attribute is computed from parameters at each call, as by weight_norm, spectral_norm and pruning."""
    return any(parameter.startswith(f"{name}_") for parameter in layer._parameters)


def _leaves(name: str, value: Any, within: bool = True) -> dict[str, Tensor | Scalar]:
    """The tensors and modules' tensors in an attribute, and numbers and texts where `within` asks for them too."""
    if isinstance(value, Tensor):
        return {name: value} if within or isinstance(value, nn.Parameter) else {}
    if isinstance(value, nn.Module):
        return {f"{name}.{inner}": tensor for inner, tensor in _tensors(value)}
    if isinstance(value, Mapping):
        parts: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return {name: value} if within and (value is None or isinstance(value, bool | int | float | str)) else {}
    leaves: dict[str, Tensor | Scalar] = {}
    for key, part in parts:
        if isinstance(part, Tensor | nn.Module | Mapping | list | tuple):
            leaves |= {
                leaf: tensor
                for leaf, tensor in _leaves(f"{name}[{key}]", part, within).items()
                if isinstance(tensor, Tensor)
            }
    return leaves


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _equal(left: Tensor | Scalar, right: Tensor | Scalar) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left.cpu(), right.cpu())
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return False
    return left == right or (left != left and right != right)  # both are NaN
