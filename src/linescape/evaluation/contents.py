"""What batches hold, as a number: by it they are compared from pass to pass."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linescape.evaluation.batches import parts
from linescape.evaluation.copies.observing import addresses

_SAYS_ALL = (
    *(str, bytes, int, float, complex, type(None), np.generic, Decimal, Fraction, date, time, timedelta),
    *(Enum, PurePath, range, slice, type, torch.dtype, torch.device),
)
"""Types of which `repr` says the whole content."""

_DEPTH = 8
"""Levels of containers and objects that are looked into."""

_OF_PYTHON = 1 << 9
"""The flag of classes that were made in Python, unlike those that hold something in C."""


def checksum(thing: Any, unknown: dict[str, None], start: int = 0, within: tuple[int, ...] = ()) -> int:
    """A number that differs where anything does that a batch holds, as far as it can be known.

    Looked into are tensors, arrays and what can be read as one, numbers, texts, containers, and attributes of objects.

    Args:
        thing: a batch, or a part of it.
        unknown: the names of classes whose content is not known are added to it.
        start: the number of what was before.
        within: what the part is in, by identity.
    """
    if isinstance(thing, Tensor):
        for content in _of_tensor(thing.detach()):
            start = zlib.crc32(content, start)
        return start
    if isinstance(thing, _SAYS_ALL):
        return zlib.crc32(repr(thing).encode("utf-8", "surrogatepass"), start)
    if id(thing) in within:
        return start
    array = None if _is_container(thing) else _as_array(thing)
    if array is not None and not array.dtype.hasobject:
        return zlib.crc32(array.tobytes(), zlib.crc32(f"{array.dtype} {array.shape}".encode(), start))
    held = _held(thing, array)
    in_c = not all(kind.__flags__ & _OF_PYTHON for kind in type(thing).__mro__[:-1])
    if len(within) == _DEPTH or not (_is_container(thing) or array is not None or (held and not in_c)):
        unknown[type(thing).__name__] = None
    if len(within) == _DEPTH:
        return start
    within = (*within, id(thing))
    if isinstance(thing, set | frozenset):
        held = sorted(checksum(part, unknown, 0, within) for part in held)
    for part in held:
        start = checksum(part, unknown, start, within)
    return start


def memory_of(thing: Any, within: tuple[int, ...] = ()) -> Iterator[int]:
    """Where the tensors and arrays are in memory that a batch or another object holds."""
    if isinstance(thing, Tensor):
        yield from addresses(thing)
    elif not (isinstance(thing, _SAYS_ALL) or id(thing) in within or len(within) == _DEPTH):
        array = None if _is_container(thing) else _as_array(thing)
        if array is not None:
            yield array.__array_interface__["data"][0]
        for part in _held(thing, array):
            yield from memory_of(part, (*within, id(thing)))


def _is_container(thing: Any) -> bool:
    return isinstance(thing, set | frozenset | list | tuple | Mapping) or is_dataclass(thing)


def _held(thing: Any, array: np.ndarray | None) -> list[Any]:
    """What a container, an array of objects or an object holds."""
    if isinstance(thing, set | frozenset):
        return list(thing)
    if _is_container(thing):
        return [*(thing if isinstance(thing, Mapping) else ()), *parts(thing)]
    if array is not None:
        return [array.shape, *array.flat] if array.dtype.hasobject else []
    attributes = _attributes(thing)
    return [*attributes, *attributes.values()]


def _as_array(thing: Any) -> np.ndarray | None:
    """What can be read as an array, such as an image, a table or a buffer."""
    with suppress(Exception):  # whatever the object's own code raises
        is_array = hasattr(thing, "__array__") or hasattr(thing, "__array_interface__")
        array = np.asarray(thing if is_array else memoryview(thing))
        return array if array.shape or not array.dtype.hasobject else None
    return None


def _attributes(thing: Any) -> dict[str, Any]:
    found: dict[str, Any] = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        found |= {name: getattr(thing, name) for name in names if hasattr(thing, name) and name != "__dict__"}
    return found


def _of_tensor(tensor: Tensor) -> Iterator[Any]:
    if tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_quantized):
        yield f"{tensor.dtype} {tuple(tensor.shape)}".encode()
        whole = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        yield whole.reshape(-1).view(torch.uint8).numpy().data
    else:  # sparse, nested or quantised: each kind has parts of its own
        saved = io.BytesIO()
        torch.save(tensor, saved)
        yield saved.getbuffer()
