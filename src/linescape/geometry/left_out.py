"""What a network's outputs may depend on and its state dict does not hold.

No line moves these things. Where they differ between two networks, a network on the line between them has those of the
network that it was made of, so a result names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linescape.geometry.tensors import alike

_DEPTH = 4
"""Levels of containers and objects in an attribute that are looked into."""

_OF_TORCH = {
    *vars(nn.Module()),
    "_flat_weight_refs",
    "_flat_weights_names",
    "_all_weights",
    "_is_full_backward_hook",
    "_is_torch_compile",
}
"""Attributes that torch gives a module for itself."""

Scalar = bool | int | float | str | None


def unsaved(module: nn.Module) -> dict[str, Tensor | Scalar]:
    """What a network's state dict does not hold, by name; its tensors are shared, not copied.

    Buffers that are not persistent, parameters that the network's own ``state_dict`` leaves out, and attributes:
    numbers, texts, arrays, tensors, modules that are not registered, containers of these, and what other objects have
    under public names.
    """
    entries = module.state_dict(keep_vars=True)
    saved = {id(value) for value in entries.values()}
    found: dict[str, Tensor | Scalar] = {
        name: value for name, value in module.named_parameters() if name not in entries and id(value) not in saved
    }
    for path, layer in module.named_modules():
        prefix = f"{path}." if path else ""
        for name in getattr(layer, "_non_persistent_buffers_set", ()):
            if (buffer := layer._buffers.get(name)) is not None:
                found[prefix + name] = buffer
        for name, value in vars(layer).items():
            if name not in _OF_TORCH and not _computed(layer, name):
                found.update(_leaves(prefix + name, value))
    # An attribute may be a weight by another name, as the list of weights that a recurrent layer has.
    return {name: value for name, value in found.items() if id(value) not in saved or not isinstance(value, Tensor)}


def unregistered(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of modules in plain lists and dictionaries, and parameters there, by name (shared)."""
    found: dict[str, Tensor] = {}
    saved = {id(value) for value in (*module.state_dict(keep_vars=True).values(), *module.buffers())}
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if name not in _OF_TORCH:
                leaves = _leaves(f"{path}.{name}" if path else name, value, registered=False).items()
                found.update({leaf: tensor for leaf, tensor in leaves if isinstance(tensor, Tensor)})
    return {name: value for name, value in found.items() if id(value) not in saved}


def differing(left: Mapping[str, Tensor | Scalar], right: Mapping[str, Tensor | Scalar]) -> tuple[str, ...]:
    """Names of what two networks do not save and that is not equal in both, in order."""
    return tuple(
        name
        for name in dict.fromkeys([*left, *right])
        if name not in left or name not in right or not _equal(left[name], right[name])
    )


def _computed(layer: nn.Module, name: str) -> bool:
    """Whether an attribute is computed from parameters at each call, as by weight_norm, spectral_norm and pruning."""
    return any(parameter.startswith(f"{name}_") for parameter, _ in layer.named_parameters(recurse=False))


def _leaves(name: str, value: Any, registered: bool = True, depth: int = 0) -> dict[str, Tensor | Scalar]:
    """The numbers, texts and tensors in an attribute by name; or only tensors of modules that are not registered."""
    if isinstance(value, Tensor):
        return {name: value} if registered or isinstance(value, nn.Parameter) else {}
    if isinstance(value, nn.Module):
        return {f"{name}.{inner}": tensor for inner, tensor in _tensors(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return {name: value} if registered else {}
    if isinstance(value, np.ndarray | np.generic):
        plain = registered and value.dtype.kind in "biufc"
        return {name: torch.from_numpy(np.array(value))} if plain else {}
    leaves: dict[str, Tensor | Scalar] = {}
    for part_name, part in _parts(name, value) if depth < _DEPTH else ():
        leaves |= _leaves(part_name, part, registered, depth + 1)
    return leaves


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):  # and no other mapping, which may read files as its items are asked for
        yield from ((f"{name}[{key}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{name}[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        modules = [part for part in value if isinstance(part, nn.Module | Tensor)]
        yield from ((f"{name}[{index}]", part) for index, part in enumerate(modules))
    elif hasattr(value, "__dict__") and not isinstance(value, type | ModuleType) and not callable(value):
        yield from ((f"{name}.{key}", part) for key, part in vars(value).items() if not key.startswith("_"))


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _equal(left: Tensor | Scalar, right: Tensor | Scalar) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if left.is_meta or right.is_meta:
            return left.shape == right.shape
        return alike(left.cpu(), right.cpu())
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return False
    return left == right or (left != left and right != right)  # both are NaN
