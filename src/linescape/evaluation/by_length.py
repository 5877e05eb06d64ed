"""Padded sequences in batches by their length, without most of the padding.

Where texts of many lengths are padded to the longest, most of what a network computes may be padding. A network that
follows its ``attention_mask`` gives the same without it. Whether it does is not known beforehand: one that takes a mean
over all positions does not. So each position of a path is measured in this way only if a few examples of every length
give there what they give as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from linescape.errors import DataError
from linescape.evaluation.batches import cuts, map_tensors, tensors
from linescape.evaluation.forward import LABELS
from linescape.evaluation.measures import IGNORED
from linescape.evaluation.subsets import count, take

MASK = "attention_mask"
"""Name of the tensor ``(examples, length)`` of a batch that is 0 where there is padding, as at Hugging Face."""

LENGTHS = 4
"""How many lengths batches have: each costs a graph of the network."""

LEAST = 256
"""Examples below which comparing a few at each position is not worth it."""

GAIN = 0.8
"""Largest share of a data set's positions that may be left for it to be worth it."""

_FEW = 3
"""Examples of each length that are compared; of fewer no graph for any number is found."""


class ByLength(NamedTuple):
    """Data in batches by length.

    Attributes:
        batches: without most of the padding.
        places: the place in the data of each example, in the order in which they come ``(examples,)``.
        few: a few examples of each length, with their padding.
        shorter: the same examples without most of it, a batch of each length.
    """

    batches: list[Any]
    places: np.ndarray
    few: Any
    shorter: list[Any]

    def agrees(self, values_of: Callable[[Any], Mapping[str, np.ndarray]], tolerance: float) -> bool:
        """Whether the few examples have the same values without their padding, if the network takes shorter ones.

        Args:
            values_of: batch -> measure -> values of its examples.
            tolerance: relative and absolute difference of values that are the same up to rounding.
        """
        expected = values_of(self.few)
        try:
            found = [values_of(batch) for batch in self.shorter]
        except Exception:  # whatever a network's own code raises that is made for one length
            return False
        return all(
            np.allclose(np.concatenate([of[measure] for of in found]), values, tolerance, tolerance, equal_nan=True)
            for measure, values in expected.items()
        )


def shortened(data: Mapping[str, Iterable[Any]]) -> dict[str, ByLength]:
    """Those data, in batches by length, that lie in memory, have an attention mask and are padded at the end.

    Data are left out where there is too little to gain, where it is not clear which axes count positions, or where a
    position without attention has a target. As many examples of all data together lie between any two lengths.
    """
    wholes = {name: whole for name, batches in data.items() if (whole := _whole(batches)) is not None}
    if not wholes:
        return {}
    ends = {name: _ends(whole[MASK]) for name, whole in wholes.items()}
    steps = np.arange(1, LENGTHS + 1) / LENGTHS
    lengths = np.quantile(np.concatenate([*ends.values()]), steps, method="higher")
    found = {
        name: _grouped(whole, ends[name], lengths, max(len(batch[MASK]) for batch in data[name]))
        for name, whole in wholes.items()
    }
    return {name: by for name, by in found.items() if by is not None}


def _whole(batches: Iterable[Any]) -> Any:
    """All examples as one batch; None where they do not lie in memory with a mask, or have several shapes."""
    if not isinstance(batches, list) or not batches:
        return None
    if not all(isinstance(batch, Mapping) and MASK in batch for batch in batches):
        return None
    try:
        examples = count(batches)
        joined = take(batches, np.arange(examples), examples)
    except DataError:  # it is not clear what an example is
        return None
    mask = joined[0][MASK] if len(joined) == 1 else None
    return joined[0] if isinstance(mask, Tensor) and mask.ndim == 2 else None


def _ends(mask: Tensor) -> np.ndarray:
    """How many positions of each example there are up to the last with attention, 1 at least ``(examples,)``."""
    numbers = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return np.asarray(((mask != 0) * numbers).amax(1).clamp(min=1).cpu().numpy())


def _grouped(whole: Any, ends: np.ndarray, lengths: np.ndarray, size: int) -> ByLength | None:
    """Examples by length; None as in `shortened`.

    Args:
        whole: all examples as one batch.
        ends: how many positions each has ``(examples,)``.
        lengths: rising ``(LENGTHS,)``.
        size: examples in a batch as they were given; shorter ones are put into larger batches.
    """
    examples, given = whole[MASK].shape
    which = np.searchsorted(lengths, ends)
    groups = [(np.flatnonzero(which == number), min(int(lengths[number]), given)) for number in np.unique(which)]
    left = sum(len(rows) * length for rows, length in groups)
    # An axis that is no first or second one may count positions too.
    if examples < LEAST or left > GAIN * examples * given or any(given in of.shape[2:] for of in tensors(whole)):
        return None
    batches, few, shorter = list[Any](), list[np.ndarray](), list[Any]()
    for rows, length in groups:
        if _has_targets(_rows(whole, rows), length, given):
            return None
        shortest = rows[np.argsort(ends[rows], kind="stable")[:_FEW]]
        few.append(shortest)
        shorter.append(_cut(_rows(whole, shortest), length, given))
        batches += [_cut(_rows(whole, rows[part]), length, given) for part in cuts(len(rows), size * given // length)]
    return ByLength(batches, np.concatenate([rows for rows, _ in groups]), _rows(whole, np.concatenate(few)), shorter)


def _rows(batch: Any, rows: np.ndarray) -> Any:
    return map_tensors(batch, lambda tensor: tensor[torch.from_numpy(rows).to(tensor.device)])


def _cut(batch: Any, length: int, given: int) -> Any:
    """A batch of which so many positions are left of those given."""
    return map_tensors(batch, lambda tensor: tensor[:, :length] if _is_by_position(tensor, given) else tensor)


def _has_targets(batch: Any, length: int, given: int) -> bool:
    """Whether an example has a target at one of the positions given that would be left out."""
    targets = tensors([batch[name] for name in LABELS if name in batch])
    return any(bool((of[:, length:] != IGNORED).any()) for of in targets if _is_by_position(of, given))


def _is_by_position(tensor: Tensor, positions: int) -> bool:
    return tensor.shape[1:2] == (positions,)
