"""What decides which operations a network's code does, beside the arguments of a call: its attributes.

A user's own code may change them from one call to the next, as by choosing a head or an adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

_PLAIN = (int, float, complex, bool, str, bytes, type(None))
_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def settings_of(network: nn.Module) -> tuple[object, ...]:
    """The attributes of all layers but their tensors; hashable, and equal for equal ones.

    Numbers, texts and truth values are compared by value, also in lists, tuples, dictionaries and in the attributes of
    an object that a layer holds, such as its configuration. Other objects are compared by identity, and tensors that
    are no state by how often they were written to.
    """
    seen: set[int] = set()  # and what is state, which moves
    seen.update(map(id, network.parameters()), map(id, network.buffers()))
    return tuple(part for name, layer in network.named_modules() for part in (name, *_of_layer(layer, seen)))


def _of_layer(layer: nn.Module, seen: set[int]) -> Iterator[object]:
    for name, value in vars(layer).items():
        if type(value) in _PLAIN:
            yield name, type(value), value
        elif name not in _STATE and not (isinstance(value, dict) and not value):
            yield name, *_leaves(value, seen)
            yield from _of_object(value, seen)


def _leaves(value: Any, seen: set[int]) -> Iterator[object]:
    leaves, structure = pytree.tree_flatten(value)
    yield str(structure)
    for leaf in leaves:
        yield (type(leaf), leaf) if isinstance(leaf, _PLAIN) else id(leaf)
        if isinstance(leaf, Tensor) and id(leaf) not in seen and not leaf.is_inference():
            yield leaf._version


def _of_object(value: Any, seen: set[int]) -> Iterator[object]:
    """The attributes of an object that is none of torch's and no function; once where several layers hold it."""
    has_attributes = hasattr(value, "__dict__") and not isinstance(value, nn.Module | Tensor) and not callable(value)
    if has_attributes and id(value) not in seen:
        seen.add(id(value))
        yield from ((name, *_leaves(inner, seen)) for name, inner in vars(value).items())
