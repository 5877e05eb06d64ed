"""What identifies data, measures and code: a digest that changes where a result could.

Results of before are used again only where everything is the same, so what cannot be identified is an error.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linescape.evaluation.batches import parts


class UnidentifiedError(Exception):
    """Something whose content is unknown."""


def add(digest: hashlib._Hash, thing: Any, depth: int = 6) -> None:
    """Add the content of data, settings or code.

    Raises:
        UnidentifiedError: the content cannot be known.
    """
    if depth < 0:
        raise UnidentifiedError(f"a {type(thing).__name__} that is nested deeply")
    if isinstance(thing, Tensor):
        _add_tensor(digest, thing)
    elif isinstance(thing, np.ndarray) and thing.dtype.kind in "biufcSUMm":
        digest.update(f"array {thing.dtype} {thing.shape}".encode())
        digest.update(np.ascontiguousarray(thing).tobytes())
    elif thing is None or isinstance(thing, bool | int | float | complex | str | bytes | np.generic | torch.dtype):
        digest.update(f"{type(thing).__name__} {thing!r}\0".encode())
    elif isinstance(thing, dict):
        _add_all(digest, (part for item in thing.items() for part in item), depth)
    elif isinstance(thing, functools.partial):
        _add_all(digest, (thing.func, *thing.args, thing.keywords), depth)
    elif isinstance(thing, FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        _add_all(digest, (thing.__code__, thing.__defaults__, thing.__kwdefaults__, *cells), depth)
    elif isinstance(thing, CodeType):
        _add_all(digest, (thing.co_code, thing.co_names, *thing.co_consts), depth)
    elif isinstance(thing, MethodType):
        _add_all(digest, (thing.__func__, thing.__self__), depth)
    elif isinstance(thing, BuiltinFunctionType | type):
        digest.update(f"{thing.__module__}.{thing.__qualname__}\0".encode())
    elif isinstance(thing, ModuleType):
        digest.update(f"{thing.__name__}\0".encode())
    elif isinstance(thing, nn.Module):
        add_code(digest, thing)
        _add_all(digest, thing.state_dict().items(), depth)
    elif held := parts(thing):
        digest.update(f"{type(thing).__name__} {list(thing) if hasattr(thing, 'keys') else ''}".encode())
        _add_all(digest, held, depth)
    elif isinstance(thing, list | tuple | set | frozenset):
        digest.update(f"{type(thing).__name__} {len(thing)}".encode())
    elif hasattr(thing, "__dict__"):
        _add_all(digest, (type(thing), vars(type(thing)).get("__call__"), vars(thing)), depth)
    else:
        raise UnidentifiedError(f"a {type(thing).__name__}")


def add_code(digest: hashlib._Hash, network: nn.Module) -> None:
    """Add the code of the layers of a network, as far as it is Python's."""
    for kind in dict.fromkeys(type(layer) for layer in network.modules()):
        forward = getattr(kind, "forward", None)
        digest.update(f"{kind.__module__}.{kind.__qualname__}\0".encode())
        if isinstance(forward, FunctionType):
            add(digest, forward.__code__)


def _add_all(digest: hashlib._Hash, things: Iterable[Any], depth: int) -> None:
    digest.update(b"(")
    for thing in things:
        add(digest, thing, depth - 1)
    digest.update(b")")


def _add_tensor(digest: hashlib._Hash, tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_nested:
        raise UnidentifiedError(f"a tensor of layout {tensor.layout}")
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    digest.update(plain.view(torch.uint8).numpy().data)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - is an error where it is empty
    except ValueError:
        return False
    return True
