"""What a recipe does to the data: smaller or shuffled images, fewer classes or examples, label noise, poisoning.

Random numbers are seeded from the data set's name, the treatment and the run's seed, not from the rest of the recipe.
So with the same seed, 20 % of the data are a subset of 50 %, and a smaller label noise moves a subset of the labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.data.archives.files import Arrays
from linescape.data.dataset import Split, rank_in_class
from linescape.errors import DataError, RecipeError
from linescape.recipe import Data, derive_seed

_CHUNK = 2000  # images at a time, so that no float copy of a whole set is made


def check(spec: Data, classes: int, shape: tuple[int, ...]) -> None:
    """Raise `RecipeError` for a treatment that is impossible with so many classes, or inputs of this stored shape."""
    if max(spec.classes, default=0) >= classes:
        raise RecipeError(f"classes are {spec.classes}. Give different labels from 0 to {classes - 1}, or () for all.")
    if len(shape) != 3:
        if spec.size or spec.shuffled_blocks or spec.augment != "none":
            raise RecipeError(
                f"{spec.name!r} has features, not images, so size {spec.size}, shuffled_blocks {spec.shuffled_blocks} "
                f"and augment {spec.augment!r} mean nothing for it. Leave them at 0, 0 and 'none'."
            )
        return
    height, width = (spec.size or side for side in shape[1:])
    if spec.shuffled_blocks and (height % spec.shuffled_blocks or width % spec.shuffled_blocks):
        raise RecipeError(
            f"shuffled_blocks is {spec.shuffled_blocks}, but images of {height} x {width} pixels cannot be cut into "
            "whole blocks of that side. Give one that divides both sides."
        )


def random(spec: Data, treatment: str, seed: int) -> np.random.Generator:
    """The random number generator of one treatment in a run."""
    return np.random.default_rng(derive_seed(Data(name=spec.name, own=spec.own), treatment, seed))


def shrink(images: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Images averaged down to ``(n, channels, side, side)`` and rounded.

    Each pixel is the mean of those that it covers, wholly or in part (torch's adaptive average pooling): plain
    area averaging where `side` divides the old side.
    """
    if side > min(images.shape[2:]):
        raise RecipeError(f"size is {side}, but the images have only {images.shape[2]} x {images.shape[3]}. Give less.")
    pooled = np.empty((*images.shape[:2], side, side), np.uint8)
    for at in range(0, len(images), _CHUNK):
        chunk = torch.from_numpy(np.array(images[at : at + _CHUNK])).float()
        pooled[at : at + _CHUNK] = F.adaptive_avg_pool2d(chunk, side).round_().to(torch.uint8).numpy()
    return pooled


def shuffle_blocks(images: npt.NDArray[Any], spec: Data, split: str) -> npt.NDArray[Any]:
    """Images whose blocks of side `shuffled_blocks` are permuted, each image's by a permutation drawn uniformly.

    Args:
        images: the complete split, ``(n, channels, height, width)``, as the permutations go by the image's index.
        spec: the recipe's data.
        split: ``train`` or ``test``.
    """
    side = spec.shuffled_blocks
    _, channels, height, width = images.shape
    rows, columns = height // side, width // side
    draw = random(spec, f"shuffled blocks of {split}", seed=0)
    shuffled = np.empty_like(images)
    for at in range(0, len(images), _CHUNK):
        chunk = images[at : at + _CHUNK].reshape(-1, channels, rows, side, columns, side)
        blocks = chunk.transpose(0, 2, 4, 1, 3, 5).reshape(len(chunk), rows * columns, channels, side, side)
        order = draw.permuted(np.tile(np.arange(rows * columns), (len(chunk), 1)), axis=1)
        blocks = np.take_along_axis(blocks, order[:, :, None, None, None], 1)
        blocks = blocks.reshape(len(chunk), rows, columns, channels, side, side).transpose(0, 3, 1, 4, 2, 5)
        shuffled[at : at + _CHUNK] = blocks.reshape(len(chunk), channels, height, width)
    return shuffled


def moments(inputs: npt.NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel (pixels counted from 0 to 1) or by feature; where constant, 1."""
    if inputs.dtype != np.uint8:
        mean, std = inputs.mean(0, dtype=np.float64), inputs.std(0, dtype=np.float64)
    else:
        total = np.zeros(inputs.shape[1], np.int64)
        square = np.zeros(inputs.shape[1], np.int64)
        for at in range(0, len(inputs), _CHUNK):
            chunk = inputs[at : at + _CHUNK]
            total += chunk.sum((0, 2, 3), dtype=np.int64)
            square += np.square(chunk, dtype=np.uint32).sum((0, 2, 3), dtype=np.int64)
        count = inputs.size // inputs.shape[1]
        mean = total / count / 255
        std = np.sqrt(np.maximum(square / count / 255**2 - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def keep_classes(split: Arrays, classes: tuple[int, ...]) -> Arrays:
    """The examples of these classes, relabelled 0, 1, ... in the order given; all for none."""
    if not classes:
        return split
    inputs, labels = split
    kept = np.flatnonzero(np.isin(labels, classes))
    if set(labels[kept].tolist()) != set(classes):
        raise DataError(f"Of the classes {classes}, some have no example. Choose others.")
    relabel = np.zeros(max(classes) + 1, np.int64)
    relabel[list(classes)] = np.arange(len(classes))
    return inputs[kept], relabel[labels[kept]]


def hold_out(split: Split, spec: Data, seed: int) -> tuple[Split, Split | None]:
    """The examples to train on, and ``round(held_out * size)`` random ones of each class, at least one, for validation.

    Raises:
        RecipeError: no example of some class would be left to train on.
    """
    if spec.held_out == 0:
        return split, None
    held = _some_of_each_class(split, spec.held_out, random(spec, "held out", seed))
    if lost := set(split.targets.tolist()) - set(split.targets[~held].tolist()):
        raise RecipeError(
            f"held_out is {spec.held_out!r}, which leaves no example of class {min(lost)} to train on. Give less."
        )
    return split.at(torch.nonzero(~held)[:, 0]), split.at(torch.nonzero(held)[:, 0])


def keep_fraction(split: Split, spec: Data, seed: int) -> Split:
    """``round(fraction * size)`` random examples of each class, at least one, in stored order."""
    if spec.fraction == 1:
        return split
    kept = _some_of_each_class(split, spec.fraction, random(spec, "fraction", seed))
    return split.at(torch.nonzero(kept)[:, 0])


def _some_of_each_class(split: Split, share: float, draw: np.random.Generator) -> Tensor:
    order = torch.from_numpy(draw.permutation(len(split)))
    rank = torch.empty_like(order)
    rank[order] = rank_in_class(split.targets[order])
    quota = (torch.bincount(split.targets).double() * share).round().clamp(min=1)
    return rank < quota[split.targets]


def move_labels(split: Split, spec: Data, classes: int, seed: int) -> Split:
    """Move exactly ``round(label_noise * n)`` labels, each to a class drawn uniformly from the others.

    Args:
        split: the training split.
        spec: the recipe's data; `label_noise` is used.
        classes: number of classes.
        seed: the run's seed.
    """
    if spec.label_noise == 0:
        return split
    draw = random(spec, "label noise", seed)
    moved = torch.from_numpy(draw.permutation(len(split))[: round(spec.label_noise * len(split))])
    shift = torch.from_numpy(draw.integers(1, classes, len(split)))
    targets = split.targets.clone()
    targets[moved] = (targets[moved] + shift[moved]) % classes
    return Split(split.inputs, targets)


def poison(split: Split, spec: Data, classes: int, seed: int) -> Split:
    """Replace every training image by poisoned copies: see `recipe.Poison`.

    Of each copy, ``int(zeroed * size)`` pixel-channels chosen at random are zero, and its label is uniform over all
    classes, the right one included (as in the released code of Liu et al. 2020).

    Args:
        split: the training split.
        spec: the recipe's data; `poison` is used.
        classes: number of classes.
        seed: the run's seed.
    """
    if spec.poison is None:
        return split
    draw = random(spec, "poison", seed)
    copies = split.inputs.repeat(spec.poison.copies, *[1] * (split.inputs.ndim - 1)).numpy()
    flat = copies.reshape(len(copies), -1)
    count = int(spec.poison.zeroed * flat.shape[1])
    for at in range(0, len(flat), _CHUNK):
        chunk = flat[at : at + _CHUNK]
        if count:
            keys = draw.random(chunk.shape, dtype=np.float32)
            np.put_along_axis(chunk, np.argpartition(keys, count - 1, axis=1)[:, :count], 0, axis=1)
    return Split(torch.from_numpy(copies), torch.from_numpy(draw.integers(0, classes, len(copies))))
