"""Tensors in a file: mapped, so that they take memory only as they are read, and checked to lie inside the file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from linescape import atomic
from linescape.errors import CheckpointError

LARGEST = (1 << 63) - 1
"""Of sizes and strides."""


def _missing(path: Path) -> str:
    """What is missing, and files nearby of about that name."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}."
    names: list[str] = []
    with suppress(OSError):  # a folder that may not be listed
        names = [each.name for each in path.parent.iterdir()]
    near = [repr(str(path.with_name(name))) for name in get_close_matches(path.name, names, cutoff=0.7)]
    return "there is no such file or folder." + (f" Did you mean {' or '.join(near)}?" if near else "")


def plain(path: Path) -> int:
    """The size in bytes of a regular file; reading a pipe or a device could wait for ever.

    Raises:
        CheckpointError: it is missing or something else.
    """
    try:
        return atomic.size(path)
    except OSError as error:
        # Of a link that leads nowhere the error itself says where.
        nothing = isinstance(error, FileNotFoundError) and not path.is_symlink()
        reason = _missing(path) if nothing else f"{error.strerror or error}."
        raise CheckpointError(f"{path} could not be opened: {reason}") from error


@contextmanager
def opened(path: Path) -> Iterator[str]:
    """A name by which libraries open a file that take no name that is not UTF-8."""
    with path.open("rb") as file:
        yield str(path) if str(path).isprintable() or os.name != "posix" else f"/dev/fd/{file.fileno()}"


class OutsideError(Exception):
    """A tensor would lie outside its part of the file."""


@dataclass(frozen=True)
class Mapped:
    """A file, mapped into memory; writing to a tensor does not change the file."""

    path: Path
    storage: torch.UntypedStorage

    @classmethod
    def of(cls, path: Path) -> Mapped:
        """Map a file that is not empty.

        Raises:
            CheckpointError: it is no plain file, or cannot be mapped.
        """
        size = plain(path)
        try:
            with opened(path) as name:
                storage = torch.UntypedStorage.from_file(name, False, size)
        except (RuntimeError, OSError) as error:
            raise CheckpointError(f"{path} could not be mapped into memory ({error}).") from error
        assert isinstance(storage, torch.UntypedStorage)  # torch's own annotation is wider
        return cls(path, storage)

    def tensor(
        self, dtype: torch.dtype, span: tuple[int, int], offset: int, size: Sequence[int], stride: Sequence[int]
    ) -> Tensor:
        """A strided tensor over the bytes ``span[0]`` to ``span[1]`` of the file.

        Args:
            dtype: of the tensor.
            span: begin and end of its storage, in bytes of the file.
            offset: of its first element in the storage, in elements.
            size: its shape.
            stride: in elements, one a dimension.

        Raises:
            OutsideError: it does not lie in its storage, or has more elements than that.
        """
        begin, end = span
        inside = 0 <= begin <= end <= self.storage.nbytes()
        numbers = (offset, *size, *stride)
        regular = len(size) == len(stride) and min(numbers) >= 0 and max(numbers) <= LARGEST
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=False))
        available = (end - begin) // dtype.itemsize
        # No more elements than the file has: with strides of zero a few bytes would become any amount of memory.
        if not inside or not regular or (count and (last >= available or count > available)):
            raise OutsideError(f"a tensor of shape {tuple(size)} does not fit into {end - begin:,} bytes")
        try:
            if not count:
                return torch.empty(tuple(size), dtype=dtype)
            return torch.empty(0, dtype=dtype).set_(self.storage[begin:end], offset, tuple(size), tuple(stride))
        except RuntimeError as error:  # numbers that PyTorch has no tensors of, or sizes whose product overflows
            raise OutsideError(f"a tensor of shape {tuple(size)} and {dtype}: {error}") from error
