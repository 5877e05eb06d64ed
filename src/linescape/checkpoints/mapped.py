"""Tensors that lie in a file: mapped, so that they take memory only as they are read, and checked to lie inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


class OutsideError(Exception):
    """A tensor would lie outside its part of the file."""


@dataclass(frozen=True)
class Mapped:
    """A file, mapped into memory; writing to a tensor does not reach it."""

    path: Path
    storage: torch.UntypedStorage

    @classmethod
    def of(cls, path: Path) -> Mapped:
        """Map a file that is not empty."""
        storage = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
        assert isinstance(storage, torch.UntypedStorage)  # torch's own annotation is wider
        return cls(path, storage)

    def tensor(
        self, dtype: torch.dtype, place: tuple[int, int], offset: int, size: Sequence[int], stride: Sequence[int]
    ) -> Tensor:
        """A strided tensor over the bytes ``place[0]`` to ``place[1]`` of the file.

        Args:
            dtype: of the tensor.
            place: begin and end of its storage, in bytes of the file.
            offset: of its first element in the storage, in elements.
            size: its shape.
            stride: in elements, one a dimension.

        Raises:
            OutsideError: it does not lie in its storage, or has more elements than that.
        """
        begin, end = place
        inside = 0 <= begin <= end <= self.storage.nbytes()
        regular = len(size) == len(stride) and min([offset, *size, *stride], default=0) >= 0
        count = 1
        for length in size:
            count *= length
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=False))
        held = (end - begin) // dtype.itemsize
        # No more elements than the file has: with strides of zero a few bytes would become any amount of memory.
        if not inside or not regular or (count and (last >= held or count > held)):
            raise OutsideError(f"a tensor of shape {tuple(size)} does not fit into {end - begin:,} bytes")
        if not count:
            return torch.empty(tuple(size), dtype=dtype)
        return torch.empty(0, dtype=dtype).set_(self.storage[begin:end], offset, tuple(size), tuple(stride))
