"""The user's data, as tensors or as batches of any nesting, and functions of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence, Sized
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from linescape.errors import DataError, first_line

_RANDOM = RandomSampler | SubsetRandomSampler | WeightedRandomSampler


def of_dataset(given: Any, size: int) -> Any:
    """The two tensors of a torch `TensorDataset`, batches of `size` examples of another data set; else what is given.

    What an `IterableDataset` gives by itself are taken as batches, as they are of any iterable.
    """
    if isinstance(given, TensorDataset) and len(given.tensors) == 2:
        return given.tensors
    if isinstance(given, Dataset) and not isinstance(given, IterableDataset):
        return DataLoader(given, size)
    return given


def as_tensors(name: str, given: Any) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets as tensors, where data are given as two tensors or arrays; otherwise None.

    Raises:
        DataError: they have different lengths, or none, or are no numbers; only one of them is a tensor or an array;
            one is sparse, nested or masked.
    """
    if not (isinstance(given, tuple) and len(given) == 2 and any(isinstance(p, Tensor | np.ndarray) for p in given)):
        return None
    for part in given:
        if not isinstance(part, Tensor | np.ndarray):
            raise DataError(
                f"The data {name!r} are a tuple of a {type(given[0]).__name__} and a {type(given[1]).__name__}. Give a "
                "tuple of two tensors or arrays, such as by torch.as_tensor(...), or a list of batches."
            )
        if isinstance(part, np.ma.MaskedArray):
            raise DataError(
                f"The data {name!r} hold a masked array, whose mask torch does not know. Leave out the examples that "
                "are masked, or give their targets a number that is ignored."
            )
        if isinstance(part, Tensor) and (part.layout != torch.strided or part.is_nested):
            kind = "nested" if part.is_nested else "sparse"
            raise DataError(
                f"The data {name!r} hold a {kind} tensor, whose examples cannot be put into batches. Give a dense one, "
                "or a list of batches."
            )
    try:
        # Not `torch.as_tensor`, which would move tensors to the default device of the caller.
        inputs, targets = (part if isinstance(part, Tensor) else torch.from_numpy(part) for part in given)
    except (TypeError, ValueError) as error:  # an array of objects, or one that is read backwards
        raise DataError(
            f"The data {name!r} are arrays that torch cannot read: {first_line(error)}. Give numbers in a plain order."
        ) from error
    if not (inputs.ndim and targets.ndim):
        raise DataError(f"The data {name!r} hold a single number. Give one row for each example.")
    if len(inputs) != len(targets):
        raise DataError(f"The data {name!r} have {len(inputs)} inputs but {len(targets)} targets; each needs one.")
    if not len(inputs):
        raise DataError(f"The data {name!r} have no examples, so there is nothing to average over.")
    return inputs, targets


def split(inputs: Tensor, targets: Tensor, size: int) -> list[Any]:
    """Batches (inputs, targets) by `cuts`."""
    return [(inputs[part], targets[part]) for part in cuts(len(inputs), size)]


def cuts(examples: int, size: int) -> list[slice]:
    """Batches of `size` examples each, the last one perhaps of fewer or of one more.

    There is no batch of one example beside others: BatchNorm has no statistics of it.
    """
    starts = list(range(0, examples, size))
    if len(starts) > 1 and examples - starts[-1] == 1:
        del starts[-1]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], examples], strict=True)]


def repeatable(name: str, given: Any) -> Iterable[Any]:
    """The data, if they can be read again and again and are not known to change from one pass to the next.

    Raises:
        DataError: they are shuffled, can be read only once, or are no batches.
    """
    if isinstance(given, DataLoader):
        samplers = given.sampler, getattr(given.batch_sampler, "sampler", None)
        drawn = next((sampler for sampler in samplers if isinstance(sampler, _RANDOM)), None)
        if drawn is not None:
            raise DataError(
                f"The data {name!r} are a DataLoader with shuffle=True or a random sampler ({type(drawn).__name__}), "
                "so examples would change places between alphas and nothing could be compared. Build it with "
                "shuffle=False, and without random augmentation."
            )
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Tensor | np.ndarray):
        raise DataError(
            f"The data {name!r} are a {type(given).__name__}. Give (inputs, targets) tensors or an iterable of batches."
        )
    with torch.random.fork_rng([]):  # from which the iterator of a DataLoader draws
        readable_once = iter(given) is given
    if readable_once:
        raise DataError(
            f"The data {name!r} can be read only once (a {type(given).__name__}), but every alpha reads them. Pass "
            "list(...) of it, or an object that starts anew each time."
        )
    return given


def first_with_examples(batches: Iterable[Any]) -> Any | None:
    """The first batch whose tensors are not all empty; None where there is none."""
    return next((batch for batch in batches if not _is_empty(batch)), None)


def smallest_batch(batches: Iterable[Any]) -> Any:
    """The batch of the fewest examples."""
    return min(batches, key=lambda batch: max(lengths(batch), default=0))


def _is_empty(batch: Any) -> bool:
    held = list(tensors(batch))
    return bool(held) and all(tensor.ndim and not tensor.size(0) for tensor in held)


def parts(batch: Any) -> list[Any]:
    """What a mapping, tuple, list, dataclass or packed sequence holds, in order; of anything else nothing."""
    if isinstance(batch, Mapping):
        return list(batch.values())
    if isinstance(batch, tuple | list):
        return list(batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        unset = [field.name for field in fields(batch) if not hasattr(batch, field.name)]
        if unset:
            raise DataError(f"A batch is a {type(batch).__name__} whose field {unset[0]!r} is not set. Set all fields.")
        return [getattr(batch, field.name) for field in fields(batch)]
    return []


def rebuilt(batch: Any, held: Sequence[Any]) -> Any:
    """A container of the same kind with other `parts`."""
    if isinstance(batch, Mapping):
        if not isinstance(batch, MutableMapping):
            return dict(zip(batch, held, strict=True))
        changed = copy(batch)  # whose constructor may take anything
        for name, value in zip(batch, held, strict=True):
            changed[name] = value
        return changed
    if isinstance(batch, PackedSequence):
        data, sizes, *order = held
        return PackedSequence(data, sizes.cpu(), *order)  # where torch wants the sizes
    if isinstance(batch, tuple | list):
        return type(batch)(*held) if hasattr(batch, "_fields") else (list if isinstance(batch, list) else tuple)(held)
    changed = copy(batch)
    for field, value in zip(fields(batch), held, strict=True):
        object.__setattr__(changed, field.name, value)  # also of a frozen one
    return changed


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch of the same kind with `change` applied to each of its tensors."""
    if isinstance(batch, Tensor):
        return change(batch)
    held = parts(batch)
    return rebuilt(batch, [map_tensors(part, change) for part in held]) if held else batch


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch on a device."""
    return map_tensors(batch, lambda tensor: moved(tensor, device))


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; itself where it is there."""
    return tensor.to(device, non_blocking=True)


def head(batch: Any, count: int) -> tuple[Any, float]:
    """The first `count` examples of a batch and the fraction of the batch that they are.

    All of the batch where its tensors differ in length, so that it is unknown what one example is, or where it
    `is_whole`.
    """
    sizes = lengths(batch)
    if len(sizes) != 1 or max(sizes) <= count or is_whole(batch, max(sizes)):
        return batch, 1.0
    return map_tensors(batch, lambda tensor: tensor[:count]), count / max(sizes)


def described(batch: Any) -> str:
    """Shapes and types of a batch's tensors as text, for error messages."""
    return ", ".join(f"{_shape(tensor)} {str(tensor.dtype).removeprefix('torch.')}" for tensor in tensors(batch))


def _shape(tensor: Tensor) -> str:
    return f"{tensor.size(0)} nested" if tensor.is_nested else str(tuple(tensor.shape))


def length(batches: Iterable[Any]) -> int | None:
    """The number of batches, if they know it: a `DataLoader` of an iterable data set has a length that is an error."""
    try:
        return len(batches) if isinstance(batches, Sized) else None
    except TypeError:
        return None


def lengths(batch: Any) -> set[int]:
    """The different lengths of a batch's tensors; a single one is the number of examples."""
    return {tensor.size(0) if tensor.ndim else 0 for tensor in tensors(batch)}


def is_whole(batch: Any, length: int) -> bool:
    """Whether a batch of so many examples has parts whose rows cannot be taken.

    Such are sparse and nested tensors, and a list without tensors that has an entry for each example, as a text.
    """
    if isinstance(batch, Tensor):
        return batch.layout != torch.strided or batch.is_nested
    if isinstance(batch, list | tuple) and len(batch) == length and not any(True for _ in tensors(batch)):
        return True
    return any(is_whole(part, length) for part in parts(batch))


def tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors of a batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    for part in parts(batch):
        yield from tensors(part)
