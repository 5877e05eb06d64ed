"""Some examples of data that are given as batches: a list, a `DataLoader`, any iterable.

All batches are read once and the wanted rows of each are kept, so examples can be drawn from anywhere: where data are
sorted by class, the first batches would be a single class. Examples that act on each other are found, and not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from linescape.errors import DataError
from linescape.evaluation.batches import cuts, is_whole, lengths, map_tensors, parts, rebuilt

_FEW = 8
"""About as many examples show whether those of a batch act on each other."""

_SAME = 0.75
"""Share of them that have to have the same value: others may be on an edge, as between two classes."""


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
    except (RuntimeError, ValueError):  # shapes or types differ from batch to batch, as with sentences
        return chosen
    return [map_tensors(joined, partial(_rows, part)) for part in cuts(rows.size, size)]


def check_independent(
    name: str, batch: Any, values_of: Callable[[Any], Mapping[str, np.ndarray]], tolerance: float
) -> None:
    """Compare some examples of a batch, measured without the others, with what they are in the batch.

    Args:
        name: of the data.
        batch: of these data.
        values_of: batch -> measure -> values of its examples.
        tolerance: relative and absolute difference of values that are the same up to rounding.

    Raises:
        DataError: several of them differ, so examples cannot be drawn one by one.
    """
    length = _length(batch)
    step = max(2, length // _FEW)
    some = slice(step - 1, None, step)  # none next to each other, as what acts may be the one before
    if length < step:
        return
    whole, alone = values_of(batch), values_of(map_tensors(batch, partial(_rows, some)))
    for measure, values in alone.items():
        expected = whole[measure][some]
        same = len(values) != len(expected) or np.isclose(values, expected, tolerance, tolerance, equal_nan=True)
        if np.mean(same) < _SAME:
            raise DataError(
                f"Examples of {name!r} act on each other: some of a batch have another {measure} without the others. "
                "So they cannot be drawn one by one: measure all, or make the first axis of each tensor count examples "
                "(batch_first=True in recurrent layers)."
            )


def _rows(which: Tensor | slice, tensor: Tensor) -> Tensor:
    return tensor[which if isinstance(which, slice) else which.to(tensor.device)]


def _concatenated(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Tensor):
        if any(batch.dtype != first.dtype for batch in batches):
            raise ValueError("batches have several types")
        return torch.cat(batches)
    if isinstance(first, PackedSequence):
        raise ValueError("the steps of several packed sequences cannot be joined as they lie")
    if isinstance(first, Mapping):
        if any(batch.keys() != first.keys() for batch in batches):
            raise ValueError("batches do not hold the same")
        return rebuilt(first, [_concatenated([batch[name] for batch in batches]) for name in first])
    held = [_concatenated(list(pieces)) for pieces in zip(*map(parts, batches), strict=True)]
    if not held and any(type(batch) is not type(first) or batch != first for batch in batches):
        raise ValueError("what is no tensor differs from batch to batch")
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
