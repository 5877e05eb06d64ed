"""Data as they are given, tensors or batches of any nesting, and what is done to a batch: moved, cut, taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from linescape.errors import DataError


def whole(name: str, given: Any) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets, where data are given as two tensors; otherwise None.

    Raises:
        DataError: they have different lengths, or none.
    """
    if not (isinstance(given, tuple) and len(given) == 2 and all(isinstance(p, Tensor | np.ndarray) for p in given)):
        return None
    inputs, targets = (torch.as_tensor(part) for part in given)
    if len(inputs) != len(targets):
        raise DataError(f"The data {name!r} have {len(inputs)} inputs but {len(targets)} targets; each needs one.")
    if not len(inputs):
        raise DataError(f"The data {name!r} have no examples, so there is nothing to average over.")
    return inputs, targets


def split(inputs: Tensor, targets: Tensor, size: int) -> list[Any]:
    """Batches (inputs, targets) of so many examples."""
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


def repeatable(name: str, given: Any) -> Iterable[Any]:
    """Data that are given as batches, if they give the same batches each time, as far as that can be told.

    Raises:
        DataError: they are shuffled, can be read only once, or are no batches.
    """
    if isinstance(given, DataLoader) and isinstance(given.sampler, RandomSampler):
        raise DataError(
            f"The data {name!r} are a DataLoader with shuffle=True, so examples would change places between alphas and "
            "nothing could be compared. Build it with shuffle=False, and without random augmentation."
        )
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Tensor | np.ndarray):
        raise DataError(
            f"The data {name!r} are a {type(given).__name__}. Give (inputs, targets) tensors or an iterable of batches."
        )
    if iter(given) is given:
        raise DataError(
            f"The data {name!r} can be read only once (a {type(given).__name__}), but every alpha reads them. Pass "
            "list(...) of it, or an object that starts anew each time."
        )
    return given


def changed(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch with each of its tensors changed; mappings become dictionaries, tuples and lists become lists."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: changed(value, change) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [changed(value, change) for value in batch]
    return batch


def moved(batch: Any, device: torch.device) -> Any:
    """A batch on a device."""
    return changed(batch, lambda tensor: tensor.to(device, non_blocking=True))


def cut(batch: Any, count: int) -> tuple[Any, float]:
    """The first examples of a batch, and which share they are; all of it where it cannot be told what an example is."""
    rows = lengths(batch)
    if len(rows) != 1 or max(rows) <= count:
        return batch, 1.0
    return changed(batch, lambda tensor: tensor[:count]), count / max(rows)


def described(batch: Any) -> str:
    """Shapes and types of a batch's tensors, in words."""
    return ", ".join(f"{tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}" for part in tensors(batch))


def lengths(batch: Any) -> set[int]:
    """The lengths of a batch's tensors: one, the number of its examples, where each has an entry for each of them."""
    return {len(tensor) if tensor.ndim else 0 for tensor in tensors(batch)}


def tensors(batch: Any) -> Iterator[Tensor]:
    """A batch's tensors, in its order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors(part)
