"""The one comparison of two sets of named tensors: names, shapes and types, which a line needs alike at both ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from linescape.errors import MismatchError, abbreviate


@dataclass(frozen=True)
class Mismatch:
    """Where two sets of named tensors differ, in the order of the left one.

    Attributes:
        only_left: names.
        only_right: names, in the order of the right one.
        shapes: name -> shapes in left and right, where they differ.
        dtypes: name -> types in left and right, where they differ.
    """

    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dtypes: Mapping[str, tuple[torch.dtype, torch.dtype]]

    @classmethod
    def between(cls, left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> Mismatch:
        """Compare two sets of tensors; values do not matter."""
        both = {name: (left[name], right[name]) for name in left if name in right}
        return cls(
            tuple(name for name in left if name not in right),
            tuple(name for name in right if name not in left),
            {
                name: (tuple(one.shape), tuple(other.shape))
                for name, (one, other) in both.items()
                if one.shape != other.shape
            },
            {name: (one.dtype, other.dtype) for name, (one, other) in both.items() if one.dtype != other.dtype},
        )


def check_alike(left: Mapping[str, Tensor], right: Mapping[str, Tensor], left_is: str, right_is: str) -> Mismatch:
    """Raise `MismatchError` naming the tensors by which two sets differ in name or shape; types may differ.

    Args:
        left: tensors by name.
        right: tensors by name.
        left_is: what a message calls the left set, such as ``the start``.
        right_is: what it calls the right set.
    """
    mismatch = Mismatch.between(left, right)
    if mismatch.only_left or mismatch.only_right:
        sides = ((mismatch.only_left, left_is), (mismatch.only_right, right_is))
        listed = "; ".join(f"{len(names)} only in {side} ({abbreviate(names)})" for names, side in sides if names)
        raise MismatchError(
            f"{left_is[:1].upper()}{left_is[1:]} and {right_is} have different tensors: {listed}. A line needs the "
            "same tensors at both ends. Load both checkpoints with the model that made them."
        )
    if mismatch.shapes:
        listed = abbreviate([f"{name}: {one} and {other}" for name, (one, other) in mismatch.shapes.items()])
        raise MismatchError(
            f"{len(mismatch.shapes)} tensors have one shape in {left_is} and another in {right_is} ({listed}). A line "
            "needs the same shapes at both ends. Check that both come from one architecture (width, classes)."
        )
    return mismatch


def with_counters(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the counters of others (`is_counter`): a missing one is 0, and further ones are left out.

    BatchNorm counts batches since PyTorch 0.4.1, and uses the count only in training; so checkpoints and frozen layers
    without it are no different. The count of a moving average is left out when its file is read.
    """
    device = next((value.device for value in tensors.values()), None)
    added = {
        name: torch.zeros(value.shape, dtype=value.dtype, device=device)
        for name, value in like.items()
        if is_counter(name) and name not in tensors
    }
    return {name: value for name, value in tensors.items() if name in like or not is_counter(name)} | added


def is_counter(name: str) -> bool:
    """Whether a name is of BatchNorm's count of batches, or of the count of networks in torch's `AveragedModel`."""
    return name.rpartition(".")[2] in ("num_batches_tracked", "n_averaged")
