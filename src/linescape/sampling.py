"""Some examples of a data set, by their places in it: of a list of batches, a `DataLoader`, any iterable of batches.

The data are passed once and the wanted rows of each batch are kept, so that they may lie anywhere: the first batches of
data that are sorted by class would be one class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linescape.errors import DataError


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
            held.append(_map(batch, partial(_rows, torch.from_numpy(within))))
    if rows.size and rows[-1] >= seen:
        raise DataError(
            f"Example {rows[-1]} was to be drawn, but the data have {seen}. They must give the same batches each time."
        )
    try:
        whole = _zip(held) if held else ()
    except (RuntimeError, ValueError):  # shapes differ from batch to batch, as with sentences
        return held
    return [_map(whole, partial(_rows, slice(at, at + size))) for at in range(0, rows.size, size)]


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


def _map(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: _map(value, change) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [_map(value, change) for value in batch]
    return batch


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(part)


def _length(batch: Any) -> int:
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in _tensors(batch)}
    if len(lengths) != 1:
        raise DataError(
            f"The tensors of a batch have the lengths {sorted(lengths)}, so it cannot be told what one example is. To "
            "walk with some of the examples, every tensor of a batch must have an entry for each example."
        )
    return lengths.pop()
