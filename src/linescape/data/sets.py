"""The data sets with a name, and where each comes from: the package, a formula, scikit-learn or the user's files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from linescape.data.archives.cifar import CIFAR10, CIFAR100, Layout
from linescape.data.archives.files import Arrays
from linescape.data.archives.forms import Form, find
from linescape.data.archives.idx import read_mnist
from linescape.errors import DataError, RecipeError, suggest

_FIXED = 2106_16004  # the seed of data and splits that are made here, which are the same in all replicates


@dataclass(frozen=True)
class Known:
    """A data set with a name.

    Attributes:
        classes: number of classes.
        examples: sizes of the training and the test split.
        shape: of one input: ``(channels, height, width)`` or ``(features,)``.
        make: returns training and test split; None for a published data set, which is read from files.
        places: where these files can be, relative to `folder`, besides a folder of the data set's name.
        layouts: CIFAR's own layouts that the files can have.
    """

    classes: int
    examples: tuple[int, int]
    shape: tuple[int, ...]
    make: Callable[[], tuple[Arrays, Arrays]] | None = None
    places: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = ()


def known(name: str) -> Known:
    """The data set of this name.

    Raises:
        RecipeError: no data set has this name.
    """
    if name not in _KNOWN:
        raise RecipeError(f"There is no data set {name!r}. {suggest(name, _KNOWN)}")
    return _KNOWN[name]


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(_KNOWN)


def folder(root: Path | None = None) -> Path:
    """The folder of published data sets: `root`, or the environment's ``LINESCAPE_DATA``, or the user's cache.

    Raises:
        DataError: none is named, and the user has no home folder to have a cache in.
    """
    if root is not None:
        return root
    if named := os.environ.get("LINESCAPE_DATA"):
        return Path(named)
    try:
        return user_cache_path("linescape", appauthor=False) / "data"
    except RuntimeError as error:
        raise DataError(
            "There is no home folder, so data sets have no place. Name your folder of data sets as root or in the "
            "environment variable LINESCAPE_DATA."
        ) from error


def locate(name: str, root: Path | None = None) -> Form | None:
    """The files of a published data set in `folder`, or None if they are not there.

    Raises:
        RecipeError: no data set has this name.
        DataError: an archive there cannot be read.
    """
    dataset = known(name)
    if dataset.make:
        return None
    parent = folder(root)
    forms = (find(parent / path, dataset.layouts) for path in (name, *dataset.places))
    return next((form for form in forms if form), None)


def read(name: str, root: Path | None = None) -> tuple[Arrays, Arrays]:
    """Training and test split of a data set, complete and as published.

    Raises:
        RecipeError: no data set has this name.
        DataError: its files are missing, damaged or incomplete.
    """
    if make := known(name).make:
        return checked(name, make())
    if form := locate(name, root):
        return checked(name, form.read())
    parent = folder(root)
    raise DataError(
        f"The data set {name!r} is not part of the package, and {parent} "
        f"{'does not have it' if parent.is_dir() else 'is no folder'}. Run: linescape data get {name}. Or put its "
        f"files into {parent / name}, or name your folder of data sets as root or in the environment variable "
        "LINESCAPE_DATA."
    )


def checked(name: str, splits: tuple[Arrays, Arrays]) -> tuple[Arrays, Arrays]:
    """The splits, unchanged, after a check of their sizes.

    Raises:
        DataError: they are incomplete, or another data set.
    """
    expected, (train, test) = known(name), splits
    sizes = (len(train[1]), len(test[1]))
    if sizes != expected.examples:
        raise DataError(
            f"The files of {name!r} hold {sizes[0]:,} training and {sizes[1]:,} test examples, but the data set has "
            f"{expected.examples[0]:,} and {expected.examples[1]:,}. Results would be "
            "reported for data that they were not made with. Download the complete data set."
        )
    for inputs, _ in splits:
        if inputs.shape[1:] != expected.shape:
            raise DataError(
                f"The files of {name!r} hold inputs of shape {inputs.shape[1:]}, but those of the data set have "
                f"{expected.shape}: these are other or modified data. Download the data set as published."
            )
    return splits


def _spiral() -> tuple[Arrays, Arrays]:
    # Two intertwined spirals of two turns: radius 2 sqrt(t), angle 4 pi sqrt(t), t uniform in [0, 1], noise 0.02.
    # The study's own spiral could not be found; this one follows its first author's earlier work, from memory.
    def draw(split: int, count: int) -> Arrays:
        random = np.random.default_rng([_FIXED, split])
        labels = random.permutation(np.arange(count, dtype=np.int64) % 2)
        reach = np.sqrt(random.random(count))
        angle = 4 * np.pi * reach + np.pi * labels
        points = 2 * reach * np.stack([np.cos(angle), np.sin(angle)]) + 0.02 * random.standard_normal((2, count))
        return np.ascontiguousarray(points.T, dtype=np.float32), labels

    return draw(0, 2000), draw(1, 1000)


def _digits() -> tuple[Arrays, Arrays]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise DataError(
            "The data set 'digits' comes with scikit-learn, which is not installed. Run: "
            "pip install 'linescape[digits]'"
        ) from error
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]  # stored as whole numbers from 0 to 16
    labels = digits.target.astype(np.int64)
    # The stored order goes by writer, so the splits are drawn: 50 test images of each digit.
    order = np.random.default_rng(_FIXED).permutation(len(labels))
    test = np.concatenate([order[labels[order] == digit][:50] for digit in range(10)])
    is_test = np.isin(order, test)
    train, test = order[~is_test], order[is_test]
    return (images[train], labels[train]), (images[test], labels[test])


def _cifar(classes: int, layouts: tuple[Layout, ...]) -> Known:
    places = tuple(path for layout in layouts for path in (layout.folder, layout.archive))
    return Known(classes, (50_000, 10_000), (3, 32, 32), places=places, layouts=layouts)


_KNOWN = {
    "fashion-mini": Known(10, (10_000, 2_000), (1, 28, 28), lambda: read_mnist(Path(__file__).parent / "fashion_mini")),
    "spiral": Known(2, (2_000, 1_000), (2,), _spiral),
    "digits": Known(10, (1_297, 500), (1, 8, 8), _digits),
    "mnist": Known(10, (60_000, 10_000), (1, 28, 28), places=("MNIST/raw", "MNIST")),
    "fashion-mnist": Known(10, (60_000, 10_000), (1, 28, 28), places=("FashionMNIST/raw", "FashionMNIST")),
    "cifar10": _cifar(10, CIFAR10),
    "cifar100": _cifar(100, CIFAR100),
}
