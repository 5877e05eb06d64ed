"""Copies of a network: with tensors of their own, or on the same memory; and whether a copy refers to its origin."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_MOST = 200_000
"""Objects that are looked at for a reference to a network, after which it is taken to have none."""


def independent(network: nn.Module) -> nn.Module:
    """A copy that shares nothing with a network.

    Unlike `copy.deepcopy`, it takes networks with tensors that were computed from others and have a gradient function,
    as those of weight_norm, spectral_norm and pruning after a training step. Raises whatever the network's parts raise.
    """
    with torch.inference_mode(False):  # whose tensors could not be used outside of it
        copy = deepcopy(network, _computed(network))
    for layer in copy.modules():
        for name, buffer in layer._buffers.items():
            if buffer is not None and buffer.layout == torch.strided and 0 in buffer.stride() and buffer.numel() > 1:
                layer._buffers[name] = buffer.contiguous()  # an expanded one, whose elements cannot be written to
    return copy


def renewed(network: nn.Module) -> nn.Module:
    """A copy whose weights and saved buffers lie in the network's own memory, with all else of its own.

    The tensors are new objects, so that nothing kept under them (by attribute or identity) is found again. Raises
    whatever the network's own parts raise.
    """
    with torch.inference_mode(False):
        saved = network.state_dict(keep_vars=True).values()
        kept = {id(value): _on_the_same_memory(value) for value in (*network.parameters(), *saved)}
        return deepcopy(network, _computed(network) | kept)


def _on_the_same_memory(value: Any) -> Any:
    if type(value) is nn.Parameter:
        return nn.Parameter(value.detach(), value.requires_grad)
    return value.detach() if type(value) is Tensor else value


def refers_to(copy: nn.Module, network: nn.Module) -> bool:
    """Whether a copy reaches a layer of the network that it was made of, which `deepcopy` leaves in functions.

    Looked at are attributes, containers, bound methods, partial functions, weak references, and what functions have in
    closures, defaults and as the globals that they name.
    """
    wanted, seen, reached = {id(layer) for layer in network.modules()}, set[int](), [copy]
    while reached and len(seen) < _MOST:
        thing: Any = reached.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | Tensor | str | bytes | int | float | None):
            continue
        if id(thing) in wanted:
            return True
        seen.add(id(thing))
        reached.extend(_parts(thing))
    return False


def _parts(thing: Any) -> Iterator[Any]:
    if isinstance(thing, weakref.ref):
        yield thing()
    elif isinstance(thing, FunctionType):
        if (thing.__module__ or "").split(".")[0] in ("torch", "linescape"):
            return
        for cell in thing.__closure__ or ():
            with suppress(ValueError):  # it is empty
                yield cell.cell_contents
        yield from (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
        yield from (thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__)
    elif isinstance(thing, MethodType):
        yield from (thing.__func__, thing.__self__)
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, dict | weakref.WeakKeyDictionary | weakref.WeakValueDictionary):
        yield from (*thing.keys(), *thing.values())
    elif isinstance(thing, list | tuple | set | frozenset | weakref.WeakSet):
        yield from thing
    elif hasattr(thing, "__dict__"):
        yield vars(thing)


def _computed(network: nn.Module) -> dict[int, Any]:
    """For `deepcopy`, which refuses them: tensors in attributes that are results of others, and their copies."""
    tensors = (tensor for layer in network.modules() for tensor in _tensors(vars(layer), 3))
    return {id(tensor): tensor.detach().clone() for tensor in tensors if not tensor.is_leaf}


def _tensors(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, depth - 1)
