"""The user's own data: what their function returns, as tensors, checked.

    def blobs(noise=0.1):
        ...
        return {"train": (inputs, labels), "test": (inputs, labels)}

``train`` and ``test`` are (inputs, labels) as tensors or arrays, or a torch data set of such pairs, which is read
once. Labels are whole numbers from 0, one for each input; ``"classes": 10`` says how many there are where that is more
than the labels show. Inputs are images of bytes ``(n, channels, height, width)``, which are normalised as those of
linescape's data sets are, or float32 or int64 ``(n, ...)``, which the network gets as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset

from linescape.data.archives.files import Arrays
from linescape.data.dataset import Split
from linescape.data.sets import Known
from linescape.errors import DataError, RecipeError
from linescape.recipe import Data, OwnData, derive_seed


@lru_cache(maxsize=2)
def own_set(spec: OwnData) -> Known:
    """The data that a function of the user's returns; torch's random numbers are seeded for it by its content.

    Raises:
        RecipeError: the function cannot be found, or raises an error.
        DataError: it returns something else than a data set.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(spec, "data"))
        returned = spec.make()
        if not isinstance(returned, Mapping) or not {"train", "test"} <= set(returned) <= {"train", "test", "classes"}:
            given = f"the names {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else "no dictionary"
            raise DataError(
                f"{spec} returned {given}. Return "
                '{"train": (inputs, labels), "test": (inputs, labels)}: trainings need the one, measurements the '
                'other; "classes" may be there too.'
            )
        train, test = (_split(spec, name, returned[name]) for name in ("train", "test"))
    if train.inputs.shape[1:] != test.inputs.shape[1:] or train.inputs.dtype != test.inputs.dtype:
        raise DataError(
            f"The training inputs of {spec} are {train.inputs.dtype} {tuple(train.inputs.shape[1:])}, but the test "
            f"inputs {test.inputs.dtype} {tuple(test.inputs.shape[1:])}. Give both the same form."
        )
    seen = 1 + int(max(train.targets.max(), test.targets.max()))
    classes = returned.get("classes", seen)
    if not isinstance(classes, int) or classes < max(seen, 2) or min(train.targets.min(), test.targets.min()) < 0:
        lowest = int(min(train.targets.min(), test.targets.min()))
        raise DataError(
            f"The labels of {spec} run from {lowest} to {seen - 1}, with {classes!r} classes. Number the classes "
            'from 0, two or more; "classes" is their number where the highest has no example.'
        )
    arrays: list[Arrays] = [(split.inputs.numpy(), split.targets.numpy()) for split in (train, test)]
    return Known(classes, (len(train), len(test)), tuple(train.inputs.shape[1:]), make=lambda: (arrays[0], arrays[1]))


def check_treatments(spec: Data, inputs: np.ndarray[Any, Any]) -> None:
    """Raise `RecipeError` for a treatment that is made for pixels or real numbers, where inputs are something else."""
    needs_bytes, needs_real = spec.size, spec.mixup or spec.poison or spec.augment != "none"
    if (needs_bytes and inputs.dtype != np.uint8) or (needs_real and inputs.dtype == np.int64):
        raise RecipeError(
            f"The inputs of {spec.label} are {inputs.dtype}. A size needs images of bytes, and mixup, poison and "
            "augmentation real numbers or bytes, so here they mean nothing. Leave them out."
        )


def _split(spec: OwnData, name: str, given: Any) -> Split:
    where = f"The {name} data of {spec}"
    if isinstance(given, TorchDataset) and not isinstance(given, IterableDataset) and isinstance(given, Sized):
        pairs = [given[index] for index in range(len(given))]
        if not pairs or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise DataError(f"{where} is a data set without (input, label) pairs. Give pairs.")
        try:
            given = [torch.stack([torch.as_tensor(x) for x, _ in pairs]), torch.tensor([int(y) for _, y in pairs])]
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{where} cannot be put together: {error}. Give inputs of one shape as tensors.") from error
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise DataError(f"{where} are a {type(given).__name__}. Give (inputs, labels), or a torch data set of pairs.")
    try:
        inputs, targets = (torch.as_tensor(part).detach().cpu().contiguous() for part in given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where} are no tensors: {error}. Give (inputs, labels) as tensors.") from error
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise DataError(f"{where} have {targets.dtype} labels. Give class numbers as whole numbers.")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        raise DataError(f"{where} hold inputs that are NaN or infinite, with which nothing can be trained.")
    try:
        return Split(_own(inputs), _own(targets.long()))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _own(values: Tensor) -> Tensor:
    return values.clone()  # what the user's code goes on to do with its tensors does not change a data set
