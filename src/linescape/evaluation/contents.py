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
    if len(within) == _DEPTH:
        unknown[type(thing).__name__] = None
        return start
    within = (*within, id(thing))
    held: list[Any]
    if isinstance(thing, set | frozenset):
        held = sorted(checksum(part, unknown, 0, within) for part in thing)
    elif isinstance(thing, list | tuple | Mapping) or is_dataclass(thing):
        held = [*(thing if isinstance(thing, Mapping) else ()), *parts(thing)]
    elif (array := _as_array(thing)) is None:
        attributes = _attributes(thing)
        if not attributes or not all(kind.__flags__ & _OF_PYTHON for kind in type(thing).__mro__[:-1]):
            unknown[type(thing).__name__] = None
        held = [*attributes, *attributes.values()]
    elif array.dtype.hasobject:
        held = [array.shape, *array.flat]
    else:
        return zlib.crc32(array.tobytes(), zlib.crc32(f"{array.dtype} {array.shape}".encode(), start))
    for part in held:
        start = checksum(part, unknown, start, within)
    return start


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
