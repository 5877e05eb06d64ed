"""A data set in memory: training and test split, and the normalisation of inputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from linescape.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set.

    Attributes:
        inputs: images ``(n, channels, height, width)`` as uint8, features ``(n, features)`` as float32, or of one's own
            data ``(n, ...)`` as float32 or int64.
        targets: labels ``(n,)`` as int64.

    Raises:
        DataError: there are no examples, or inputs and targets differ in number or have other types.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) == 0:
            raise DataError("A split of the data set has no examples, so there is nothing to train on or to measure.")
        if self.targets.shape != (len(self.inputs),) or self.targets.dtype != torch.int64:
            raise DataError(
                f"{len(self.inputs)} inputs come with targets of shape {tuple(self.targets.shape)} and type "
                f"{self.targets.dtype}. Give one int64 label for each input."
            )
        image = self.inputs.dtype == torch.uint8 and self.inputs.ndim == 4
        if not (image or (self.inputs.dtype in (torch.float32, torch.int64) and self.inputs.ndim >= 2)):
            raise DataError(
                f"Inputs are {self.inputs.dtype} of shape {tuple(self.inputs.shape)}. Give uint8 images (n, channels, "
                "height, width), or float32 or int64 (n, ...), such as features (n, features)."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        return f"Split({len(self):,} examples of shape {tuple(self.inputs.shape[1:])})"

    def take(self, count: int) -> Split:
        """`count` examples, balanced over classes, in stored order; all for 0, or if there are fewer.

        Examples are taken in turns from the classes: the first of each class, the second of each, ... So a smaller
        selection is a subset of a larger one, and class counts differ by at most one until a class is used up.
        """
        if count < 0:
            raise DataError(f"{count} examples were asked for. Give the number of examples, or 0 for all.")
        if count == 0 or count >= len(self):
            return self
        order = torch.argsort(rank_in_class(self.targets), stable=True)
        return self.at(torch.sort(order[:count]).values)

    def at(self, indices: Tensor) -> Split:
        """The examples at these positions ``(k,)``, in this order."""
        return Split(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set: the training split as a recipe says, the test split without noise, poison or reduction.

    Attributes:
        name: the name in `recipe.Data`.
        train: training split.
        test: test split.
        classes: number of classes; labels are ``0 .. classes - 1``.
        mean: mean of the original training split by channel, pixels scaled to [0, 1]; features as they are.
        std: standard deviation likewise; 1 for a channel that is constant. Both are empty where inputs are not
            normalised, as those of one's own data that are not images of bytes.
        held_out: examples of the training split that are for validation; None where a recipe holds none out.

    Raises:
        DataError: a label is out of range.
    """

    name: str
    train: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    held_out: Split | None = None

    def __post_init__(self) -> None:
        for part, split in (("training", self.train), ("test", self.test)):
            low, high = int(split.targets.min()), int(split.targets.max())
            if low < 0 or high >= self.classes:
                raise DataError(
                    f"The {part} labels of {self.name!r} run from {low} to {high}, but {self.classes} classes have "
                    f"labels 0 to {self.classes - 1}. The files are damaged or belong to another set."
                )

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name}: {len(self.train):,} training and {len(self.test):,} test examples of shape "
            f"{self.shape}, {self.classes} classes)"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all examples, by which a result tells what it was computed with."""
        digest = hashlib.sha256()
        for split in filter(None, (self.train, self.test, self.held_out)):
            for part in (split.inputs, split.targets):
                digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
                digest.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(channels, height, width)`` or ``(features,)``."""
        return tuple(self.train.inputs.shape[1:])

    def tensors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """``train`` and ``test`` -> (normalised inputs, labels), as `Evaluator` and `linescape.compare` take them."""
        splits = {"train": self.train, "test": self.test}
        return {name: (self.normalise(split.inputs), split.targets) for name, split in splits.items()}

    def normalise(self, inputs: Tensor) -> Tensor:
        """Inputs with mean 0 and variance 1 by channel over the training split, as float32 on the inputs' device.

        Inputs of a data set without `std` are returned as they are.

        Args:
            inputs: images ``(batch, channels, height, width)`` with pixels from 0 to 255, or features
                ``(batch, features)``.
        """
        if not self.std:
            return inputs
        pixel = 255.0 if len(self.shape) == 3 else 1.0
        over = (-1, 1, 1) if len(self.shape) == 3 else (-1,)
        scale = torch.tensor([1 / (pixel * s) for s in self.std], device=inputs.device).view(over)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=inputs.device).view(
            over
        )
        return inputs.float().mul_(scale).add_(shift) if inputs.dtype == torch.uint8 else inputs.float() * scale + shift


def rank_in_class(targets: Tensor) -> Tensor:
    """For each of ``(n,)`` labels, the number of earlier examples with the same label; int64 ``(n,)``."""
    by_class = torch.argsort(targets, stable=True)
    counts = torch.bincount(targets)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    rank = torch.empty_like(targets)
    rank[by_class] = torch.arange(len(targets), device=targets.device) - starts
    return rank
