"""The user's data, as tensors or as batches of any nesting, and functions of one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from linescape.errors import DataError


def as_tensors(name: str, given: Any) -> tuple[Tensor, Tensor] | None:
    """Inputs and targets as tensors, where data are given as two tensors or arrays; otherwise None.

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
    """Batches (inputs, targets) of `size` examples each, the last one perhaps of fewer."""
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


def repeatable(name: str, given: Any) -> Iterable[Any]:
    """The data, if they can be read again and again and are not known to change from one pass to the next.

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


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch with `change` applied to each of its tensors; mappings become dictionaries, tuples and lists lists."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: map_tensors(value, change) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [map_tensors(value, change) for value in batch]
    return batch


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch on a device."""
    return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def head(batch: Any, count: int) -> tuple[Any, float]:
    """The first `count` examples of a batch and the fraction of the batch that they are.

    All of the batch where its tensors differ in length, so that it is unknown what one example is.
    """
    sizes = lengths(batch)
    if len(sizes) != 1 or max(sizes) <= count:
        return batch, 1.0
    return map_tensors(batch, lambda tensor: tensor[:count]), count / max(sizes)


def described(batch: Any) -> str:
    """Shapes and types of a batch's tensors as text, for error messages."""
    return ", ".join(f"{tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}" for part in tensors(batch))


def lengths(batch: Any) -> set[int]:
    """The different lengths of a batch's tensors; a single one is the number of examples."""
    return {len(tensor) if tensor.ndim else 0 for tensor in tensors(batch)}


def tensors(batch: Any) -> Iterator[Tensor]:
    """The tensors of a batch, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors(part)
