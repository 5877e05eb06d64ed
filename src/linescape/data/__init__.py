"""From `recipe.Data` to tensors: `load` reads a data set and treats its training split as the recipe says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from linescape.data import treatments
from linescape.data.archives.files import Arrays
from linescape.data.augmentation import augment
from linescape.data.dataset import Dataset, Split
from linescape.data.mixing import Mixed, mix
from linescape.data.own import check_treatments, own_set
from linescape.data.sets import Known, known, names, read
from linescape.errors import check_type
from linescape.recipe import Data

__all__ = ["Dataset", "Mixed", "Split", "augment", "examples", "form", "held_out", "load", "mix", "names", "stored"]


def load(spec: Data | str, seed: int = 0, root: Path | str | None = None) -> Dataset:
    """The data set of a recipe, or of a name such as ``fashion-mini``; the same `spec` and `seed` give the same data.

    In this order: images are scaled down, their blocks shuffled and classes selected, in both splits; then a part of
    the training split is held out, and the rest is reduced to a fraction, its labels are moved, and it is poisoned.
    `Dataset.mean` and `Dataset.std` are those of the complete training split at this image size, before anything else.
    `spec.augment` is for the training loop: see `augment`.

    Args:
        spec: what to load; a name stands for the data set as it is.
        seed: of everything that is drawn. The data sets themselves, ``spiral`` too, do not depend on it.
        root: the folder of data sets that are not part of the package; None is the environment variable
            ``LINESCAPE_DATA``, or else ``linescape/data`` in the user's cache. ``linescape data get`` downloads them;
            a folder with the data set's name and files in any form that `archives` reads, CIFAR's archives, and
            folders made by torchvision are found too.

    Raises:
        RecipeError: the data set is unknown, or the treatment impossible for it.
        DataError: its files are missing, damaged or incomplete, or the user's function returns no data set.
    """
    spec = Data(spec) if isinstance(spec, str) else spec
    check_type(spec, Data, "The data set", "Give its name, such as 'fashion-mini'.")
    classes = stored(spec).classes
    if spec.own and (made := own_set(spec.own).make):
        train, test = made()
    else:
        train, test = read(spec.name, None if root is None else Path(root))
    treatments.check(spec, classes, train[0].shape[1:])
    check_treatments(spec, train[0])
    if spec.size:
        train, test = (
            (treatments.shrink(train[0], spec.size), train[1]),
            (treatments.shrink(test[0], spec.size), test[1]),
        )
    if spec.shuffled_blocks:
        train = treatments.shuffle_blocks(train[0], spec, "train"), train[1]
        test = treatments.shuffle_blocks(test[0], spec, "test"), test[1]
    as_it_is = spec.own and train[0].dtype != np.uint8
    mean, std = ((), ()) if as_it_is else treatments.moments(train[0])
    kept = len(spec.classes) or classes
    clean, kept_out = treatments.hold_out(_to_tensors(treatments.keep_classes(train, spec.classes)), spec, seed)
    clean = treatments.keep_fraction(clean, spec, seed)
    noisy = treatments.move_labels(clean, spec, kept, seed)
    return Dataset(
        name=spec.label,
        train=treatments.poison(noisy, spec, kept, seed),
        test=_to_tensors(treatments.keep_classes(test, spec.classes)),
        classes=kept,
        mean=mean,
        std=std,
        held_out=kept_out,
    )


def stored(spec: Data) -> Known:
    """What is known of a recipe's data set before any treatment; the user's own data are made for that.

    Raises:
        RecipeError: the set is unknown, or the user's function cannot be found or raises an error.
        DataError: the user's function returns no data set.
    """
    return own_set(spec.own) if spec.own else known(spec.name)


def form(spec: Data) -> tuple[tuple[int, ...], int]:
    """Shape of one input and number of classes of a recipe's data; no file is read, but one's own data are made.

    Raises:
        RecipeError: the set is unknown.
    """
    known_set = stored(spec)
    shape = (known_set.shape[0], spec.size, spec.size) if spec.size else known_set.shape
    return shape, len(spec.classes) or known_set.classes


def examples(spec: Data) -> tuple[int, int]:
    """Numbers of training and of test examples, if classes are balanced; no file is read, as in `form`.

    Raises:
        RecipeError: the set is unknown, or the treatment impossible for it.
    """
    known_set = stored(spec)
    treatments.check(spec, known_set.classes, known_set.shape)
    share = (len(spec.classes) or known_set.classes) / known_set.classes
    copies = spec.poison.copies if spec.poison else 1
    trained = known_set.examples[0] * share * (1 - spec.held_out) * spec.fraction
    return round(trained) * copies, round(known_set.examples[1] * share)


def held_out(spec: Data) -> int:
    """Number of examples that are kept from training, if classes are balanced; no file is read, as in `form`."""
    known_set = stored(spec)
    share = (len(spec.classes) or known_set.classes) / known_set.classes
    return round(known_set.examples[0] * share * spec.held_out)


def _to_tensors(arrays: Arrays) -> Split:
    inputs, labels = arrays
    return Split(torch.from_numpy(np.array(inputs)), torch.from_numpy(np.array(labels)))
