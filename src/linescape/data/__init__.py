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
from linescape.data.sets import known, names, read
from linescape.errors import check_type
from linescape.recipe import Data

__all__ = ["Dataset", "Mixed", "Split", "augment", "form", "load", "mix", "names"]


def load(spec: Data | str, seed: int = 0, root: Path | str | None = None) -> Dataset:
    """The data set of a recipe, or of a name such as ``fashion-mini``; the same `spec` and `seed` give the same data.

    In this order: images are scaled down and classes selected, in both splits; then the training split is reduced to
    a fraction, its labels are moved, and it is poisoned. `Dataset.mean` and `Dataset.std` are those of the complete
    training split at this image size, before anything else. `spec.augment` is for the training loop: see `augment`.

    Args:
        spec: what to load; a name stands for the data set as it is.
        seed: of everything that is drawn. The data sets themselves, ``spiral`` too, do not depend on it.
        root: the folder of data sets that are not part of the package; None is the environment variable
            ``LINESCAPE_DATA``, or else ``linescape/data`` in the user's cache. ``linescape data get`` downloads them;
            a folder with the data set's name and files in any form that `archives` reads, CIFAR's archives, and
            folders made by torchvision are found too.

    Raises:
        RecipeError: the data set is unknown, or the treatment impossible for it.
        DataError: its files are missing, damaged or incomplete.
    """
    spec = Data(spec) if isinstance(spec, str) else spec
    check_type(spec, Data, "The data set", "Give its name, such as 'fashion-mini'.")
    classes = known(spec.name).classes
    train, test = read(spec.name, None if root is None else Path(root))
    treatments.check(spec, classes, image=train[0].ndim == 4)
    if spec.size:
        train, test = (
            (treatments.shrink(train[0], spec.size), train[1]),
            (treatments.shrink(test[0], spec.size), test[1]),
        )
    mean, std = treatments.moments(train[0])
    kept = len(spec.classes) or classes
    clean = _to_tensors(treatments.keep_classes(train, spec.classes))
    clean = treatments.keep_fraction(clean, spec, seed)
    noisy = treatments.move_labels(clean, spec, kept, seed)
    return Dataset(
        name=spec.name,
        train=treatments.poison(noisy, spec, kept, seed),
        test=_to_tensors(treatments.keep_classes(test, spec.classes)),
        classes=kept,
        mean=mean,
        std=std,
    )


def form(spec: Data) -> tuple[tuple[int, ...], int]:
    """Shape of one input and number of classes of a recipe's data; no file is read.

    Raises:
        RecipeError: the set is unknown.
    """
    stored = known(spec.name)
    shape = (stored.shape[0], spec.size, spec.size) if spec.size else stored.shape
    return shape, len(spec.classes) or stored.classes


def examples(spec: Data) -> tuple[int, int]:
    """Numbers of training and of test examples, if classes are balanced; no file is read.

    Raises:
        RecipeError: the set is unknown, or the treatment impossible for it.
    """
    stored = known(spec.name)
    treatments.check(spec, stored.classes, image=len(stored.shape) == 3)
    share = (len(spec.classes) or stored.classes) / stored.classes
    copies = spec.poison.copies if spec.poison else 1
    return round(stored.examples[0] * share * spec.fraction) * copies, round(stored.examples[1] * share)


def _to_tensors(arrays: Arrays) -> Split:
    inputs, labels = arrays
    return Split(torch.from_numpy(np.array(inputs)), torch.from_numpy(np.array(labels)))
