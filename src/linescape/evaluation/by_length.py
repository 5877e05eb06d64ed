"""Padded sequences in batches by their length, without most of the padding.

Where texts of many lengths are padded to the longest, most of what a network computes may be padding. One of
transformers that follows its ``attention_mask`` gives the same without it. Not all do: one may take a mean over all
positions, or a convolution may reach over the end of a text. So each position of a path is measured in this way only if
a few examples of every length, the shortest and the longest, give there what they give as they are: the same outputs,
not only the same values, as all may be right or wrong alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from linescape.engine.graph import relative_difference
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

_FEW, _MANY, _SHARE = 4, 16, 0.0125
"""Fewest and most examples of each length that are compared, and which share of all they are between: comparing them
takes a twentieth of what a position takes as given, or less."""


class Called(NamedTuple):
    """What a batch gave.

    Attributes:
        values: measure -> values ``(batch,)``.
        outputs: the tensors that the network returned.
        targets: the tensors of the targets.
    """

    values: Mapping[str, np.ndarray]
    outputs: list[Tensor]
    targets: list[Tensor]


class ByLength(NamedTuple):
    """Data in batches by length.

    Attributes:
        batches: without most of the padding.
        places: the place in the data of each example, in the order in which they come ``(examples,)``.
        few: a few examples of each length below the one given, with their padding.
        shorter: the same examples without most of it, a batch of each length.
    """

    batches: list[Any]
    places: np.ndarray
    few: Any
    shorter: list[Any]

    def agrees(self, call: Callable[[Any], Called], tolerances: tuple[float, float], by_position: bool) -> bool:
        """Whether the few examples give the same without their padding, if the network takes shorter ones.

        What is not a number shows nothing, so that it is not the same.

        Args:
            call: batch -> what it gives.
            tolerances: the largest difference of values that are the same up to rounding, relative and absolute; and of
                outputs, relative to the largest.
            by_position: whether the value of an example does not depend on its positions that do not count; otherwise
                outputs and targets must not have lost any.
        """
        of_values, of_outputs = tolerances
        try:
            whole, found = call(self.few), [call(batch) for batch in self.shorter]
        except Exception:  # whatever a network's own code raises that is made for one length
            return False
        sizes = [len(batch[MASK]) for batch in self.shorter]
        ends = np.cumsum(sizes)
        for batch, of, end, size in zip(self.shorter, found, ends, sizes, strict=True):
            rows = slice(int(end) - size, int(end))
            for measure, values in of.values.items():
                expected = whole.values[measure]
                if len(expected) != ends[-1] or len(values) != size:
                    return False
                if not np.allclose(values, expected[rows], of_values, of_values):
                    return False
            given = [tensor[rows] for tensor in whole.outputs + whole.targets if tensor.ndim]
            shorter = [*of.outputs, *of.targets]
            if [tensor.shape for tensor in given] != [tensor.shape for tensor in shorter] and not by_position:
                return False
            lost = self.few[MASK].shape[1] - batch[MASK].shape[1]
            if len(of.outputs) != len(whole.outputs) or not all(
                _same(mine, its, batch[MASK] != 0, lost, of_outputs)
                for mine, its in zip(of.outputs, given[: len(of.outputs)], strict=True)
            ):
                return False
        return True


def _same(shorter: Tensor, given: Tensor, attention: Tensor, lost: int, tolerance: float) -> bool:
    """Whether outputs are the same up to rounding; those by position, where there is attention.

    Args:
        shorter: outputs of examples without most of their padding.
        given: outputs of the same examples as they are.
        attention: of the shorter ones ``(examples, length)``.
        lost: how many positions these have lost.
        tolerance: the largest difference, relative to the largest output.
    """
    if shorter.shape != given.shape:
        cut = given[:, : given.shape[1] - lost] if given.ndim > 1 else given
        if shorter.shape != cut.shape or shorter.shape[1] > attention.shape[1]:
            return False
        kept = attention[:, : shorter.shape[1]].to(shorter.device)
        shorter, given = shorter[kept], cut[kept]
    if not given.numel():
        return True
    return not bool(given.isnan().any()) and relative_difference(shorter, given) <= tolerance


def shortened(data: Mapping[str, Iterable[Any]]) -> dict[str, ByLength]:
    """Those data, in batches by length, that lie in memory, have an attention mask and are padded at the end.

    Data are left out where there is too little to gain, where it is not clear which axes count positions, where a
    position without attention has a target, or where examples do not all have the same at the positions left out, so
    that a few cannot stand for the others. As many examples of all data together lie between any two lengths.
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
    if not isinstance(batches, list | tuple) or not batches:
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
    """How many positions of each example there are up to the last with attention ``(examples,)``.

    All where there is no attention: a network gives such an example a mean over all positions, or anything else.
    """
    numbers = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    ends = ((mask != 0) * numbers).amax(1) if mask.shape[1] else torch.zeros(len(mask), dtype=torch.long)
    return np.asarray(ends.where(ends > 0, mask.shape[1]).cpu().numpy())


def _grouped(whole: Any, ends: np.ndarray, lengths: np.ndarray, size: int) -> ByLength | None:
    """Examples by length; None as in `shortened`.

    Args:
        whole: all examples as one batch.
        ends: how many positions each has ``(examples,)``.
        lengths: rising ``(LENGTHS,)``.
        size: examples in a batch as they were given; shorter ones are put into larger batches.
    """
    examples, given = whole[MASK].shape
    number_of_few = int(min(max(_FEW, _SHARE * examples), _MANY))
    which = np.searchsorted(lengths, ends)
    groups = [(np.flatnonzero(which == number), min(int(lengths[number]), given)) for number in np.unique(which)]
    left = sum(len(rows) * length for rows, length in groups)
    # An axis that is no first or second one may count positions too.
    if examples < LEAST or left > GAIN * examples * given or any(given in of.shape[2:] for of in tensors(whole)):
        return None
    batches, few, shorter = list[Any](), list[np.ndarray](), list[Any]()
    for rows, length in groups:
        of_length = _rows(whole, rows)
        if _has_targets(of_length, length, given) or not _ends_alike(of_length, length, given):
            return None
        if length < given:
            order = rows[np.argsort(ends[rows], kind="stable")]
            longest = min(len(rows), number_of_few // 2)
            some = np.concatenate([order[: min(len(rows), number_of_few) - longest], order[len(rows) - longest :]])
            few.append(some)
            shorter.append(_cut(_rows(whole, some), length, given))
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


def _ends_alike(batch: Any, length: int, given: int) -> bool:
    """Whether all examples have the same at each of the positions given that would be left out."""
    cut = [tensor[:, length:] for tensor in tensors(batch) if _is_by_position(tensor, given)]
    return all(bool((of == of[:1]).all()) for of in cut)


def _is_by_position(tensor: Tensor, positions: int) -> bool:
    return tensor.shape[1:2] == (positions,)
