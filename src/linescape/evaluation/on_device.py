"""Batches that stay on a GPU from one position to the next, as far as its memory allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from linescape.evaluation import batches as of_batches
from linescape.evaluation.repeated import Repeated

SHARE = 0.25
"""Of the memory that is free when a walk begins: the most that batches may take. The rest is for activations."""


class _Kept(NamedTuple):
    """A batch that was moved.

    Attributes:
        data: the data and tensors that it was made of. They are kept alive so that their `id` stays theirs.
        marks: properties of its tensors by which the batch is recognised in a later pass.
        tensors: on the device, in order.
        size: bytes of those that were moved.
    """

    data: tuple[object, ...]
    marks: list[object]
    tensors: list[Tensor]
    size: int


class OnDevice:
    """Reads data again and again, and moves each batch to the device once.

    A batch is read as always, so that data that changed are found out. Only its tensors are replaced, by those that
    were moved in an earlier pass; these must not be written to.

    Args:
        device: where batches are wanted.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._limit = self._taken = 0
        self._kept: dict[tuple[int, int], _Kept] = {}

    def begin(self) -> None:
        """A walk begins: measure anew how much may be kept. What earlier walks kept stays if it fits."""
        self._limit = int(SHARE * (free_bytes(self._device) + self._taken))
        if self._taken > self._limit:
            self._kept.clear()
            self._taken = 0

    def read(self, data: Iterable[Any]) -> Iterator[Any]:
        """The batches, on the device as far as they are kept there."""
        if not self._limit:
            yield from data
            return
        for number, batch in enumerate(data):
            yield self._moved(data, number, batch)

    def _moved(self, data: Iterable[Any], number: int, batch: Any) -> Any:
        given = list(of_batches.tensors(batch))
        if any(tensor.layout != torch.strided or tensor.is_nested for tensor in given):
            return batch  # of unknown size; it is moved when it is used
        # Batches that are made anew in each pass were compared by their content; others are known by their tensors.
        anew = isinstance(data, Repeated)
        marks = [(tensor.shape, tensor.dtype) if anew else (id(tensor), _version(tensor)) for tensor in given]
        key = id(data), number
        kept = self._kept.get(key)
        if kept is None or kept.marks != marks:
            if kept is not None:
                self._taken -= self._kept.pop(key).size
            moved = [of_batches.moved(tensor, self._device) for tensor in given]
            size = sum(new.nbytes for new, old in zip(moved, given, strict=True) if new is not old)
            kept = _Kept((data,) if anew else (data, *given), [*marks], moved, size)
            if not size:
                return batch
            if self._taken + size <= self._limit:
                self._kept[key] = kept
                self._taken += size
        places = iter(kept.tensors)
        return of_batches.map_tensors(batch, lambda _: next(places))


def free_bytes(device: torch.device) -> int:
    """Bytes of a GPU's memory that are free, or that torch holds for tensors to come; 0 where that is not known."""
    if device.type != "cuda":
        return 0
    of_torch = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + of_torch


def _version(tensor: Tensor) -> int | None:
    """How often a tensor has been written to by torch, where torch counts that."""
    return None if tensor.is_inference() else tensor._version
