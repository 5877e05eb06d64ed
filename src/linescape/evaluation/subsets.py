"""Some examples of data that are given as batches: a list, a `DataLoader`, any iterable.

All batches are read once and the wanted rows of each are kept, so examples can be drawn from anywhere: where data are
sorted by class, the first batches would be a single class.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from linescape.errors import DataError
from linescape.evaluation.batches import cuts, is_whole, lengths, map_tensors, parts, rebuilt


def count(batches: Iterable[Any]) -> int:
    """The number of examples in all batches.

    Raises:
        DataError: a batch has no tensor to count by, or tensors of different lengths.
    """
    return sum(_length(batch) for batch in batches)


def take(batches: Iterable[Any], rows: np.ndarray, size: int) -> list[Any]:
    """The examples at `rows` ``(n,)``, rising, in batches of `size` where shapes agree; they are kept in memory.

    Raises:
        DataError: a batch has no tensor to count by, or tensors of different lengths; there are fewer examples.
    """
    chosen: list[Any] = []
    seen = 0
    for batch in batches:
        length = _length(batch)
        within = rows[(rows >= seen) & (rows < seen + length)] - seen
        seen += length
        if within.size:
            chosen.append(map_tensors(batch, partial(_rows, torch.from_numpy(within))))
    if rows.size and rows[-1] >= seen:
        raise DataError(
            f"Example {rows[-1]} was to be drawn, but the data have {seen}. They must give the same batches each time."
        )
    try:
        joined = _concatenated(chosen) if chosen else ()
    except (RuntimeError, ValueError):  # shapes differ from batch to batch, as with sentences
        return chosen
    return [map_tensors(joined, partial(_rows, part)) for part in cuts(rows.size, size)]


def _rows(which: Tensor | slice, tensor: Tensor) -> Tensor:
    return tensor[which if isinstance(which, slice) else which.to(tensor.device)]


def _concatenated(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.cat(batches)
    if isinstance(first, PackedSequence):
        raise ValueError("the steps of several packed sequences cannot be joined as they lie")
    held = [_concatenated(list(pieces)) for pieces in zip(*map(parts, batches), strict=True)]
    return rebuilt(first, held) if held else first


def _length(batch: Any) -> int:
    sizes = lengths(batch)
    if len(sizes) != 1:
        raise DataError(
            f"The tensors of a batch have the lengths {sorted(sizes)}, so it is unknown what one example is. To "
            "measure only some of the examples, give every tensor of a batch one entry for each example."
        )
    if is_whole(batch, max(sizes)):
        raise DataError(
            f"A batch of {max(sizes)} examples holds a sparse or nested tensor, or a list of as many entries that are "
            "no tensors. To measure only some of the examples, make it a dense tensor, or leave it out."
        )
    return sizes.pop()
