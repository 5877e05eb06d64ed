"""Data sets by name, and some of their examples, by their places: of a list of batches, a `DataLoader`, any iterable.

Batches are passed once and the wanted rows of each batch are kept, so that they may lie anywhere: the first batches of
data that are sorted by class would be one class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linescape.errors import DataError
from linescape.evaluation.batches import changed, lengths, repeatable, split, whole


@dataclass(frozen=True, eq=False)
class Sets:
    """Data sets by name.

    Attributes:
        batches: what each gives when it is read; may be read again and again.
        tensors: inputs and targets of those that were given as such.
        size: examples in a batch of these.
    """

    batches: Mapping[str, Iterable[Any]]
    tensors: Mapping[str, tuple[Tensor, Tensor]]
    size: int

    @classmethod
    def of(cls, given: Mapping[str, Any], size: int) -> Sets:
        """Data as an `Evaluator` takes them.

        Raises:
            DataError: data are empty, can be read only once, are shuffled, or no data.
        """
        tensors = {name: found for name, each in given.items() if (found := whole(name, each)) is not None}
        batches = {
            name: split(*tensors[name], size) if name in tensors else repeatable(name, each)
            for name, each in given.items()
        }
        return cls(batches, tensors, size)

    @property
    def examples(self) -> int | None:
        """In all together; None where batches are of the user's own making."""
        if set(self.tensors) != set(self.batches):
            return None
        return sum(len(targets) for _, targets in self.tensors.values())

    def take(self, rows: Mapping[str, np.ndarray]) -> Sets:
        """Name -> the examples at these places ``(n,)``, rising; sets not named are left out.

        Raises:
            DataError: as `take`.
        """
        tensors = {
            name: (self.tensors[name][0][chosen], self.tensors[name][1][chosen])
            for name, chosen in rows.items()
            if name in self.tensors
        }
        batches = {
            name: split(*tensors[name], self.size) if name in tensors else take(self.batches[name], chosen, self.size)
            for name, chosen in rows.items()
        }
        return Sets(batches, tensors, self.size)


def count(batches: Iterable[Any]) -> int:
    """How many examples there are.

    Raises:
        DataError: a batch has no tensor to count by, or tensors of different lengths.
    """
    return sum(_length(batch) for batch in batches)


def take(batches: Iterable[Any], rows: np.ndarray, size: int) -> list[Any]:
    """The examples at `rows` ``(n,)``, rising, in batches of `size` where their tensors fit together; held in memory.

    Raises:
        DataError: a batch has no tensor to count by, or tensors of different lengths; there are fewer examples.
    """
    held: list[Any] = []
    seen = 0
    for batch in batches:
        length = _length(batch)
        within = rows[(rows >= seen) & (rows < seen + length)] - seen
        seen += length
        if within.size:
            held.append(changed(batch, partial(_rows, torch.from_numpy(within))))
    if rows.size and rows[-1] >= seen:
        raise DataError(
            f"Example {rows[-1]} was to be drawn, but the data have {seen}. They must give the same batches each time."
        )
    try:
        joined = _zip(held) if held else ()
    except (RuntimeError, ValueError):  # shapes differ from batch to batch, as with sentences
        return held
    return [changed(joined, partial(_rows, slice(at, at + size))) for at in range(0, rows.size, size)]


def _rows(which: Tensor | slice, tensor: Tensor) -> Tensor:
    return tensor[which if isinstance(which, slice) else which.to(tensor.device)]


def _zip(batches: list[Any]) -> Any:
    head = batches[0]
    if isinstance(head, Tensor):
        return torch.cat(batches)
    if isinstance(head, Mapping):
        return {name: _zip([batch[name] for batch in batches]) for name in head}
    if isinstance(head, tuple | list):
        return [_zip(list(parts)) for parts in zip(*batches, strict=True)]
    return head


def _length(batch: Any) -> int:
    found = lengths(batch)
    if len(found) != 1:
        raise DataError(
            f"The tensors of a batch have the lengths {sorted(found)}, so it cannot be told what one example is. To "
            "walk with some of the examples, every tensor of a batch must have an entry for each example."
        )
    return found.pop()
