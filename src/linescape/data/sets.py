"""The data sets that have a name, and where each comes from: the package, a formula, scikit-learn or your files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from platformdirs import user_cache_path

from linescape.data.archives.cifar import CIFAR10, CIFAR100, Layout
from linescape.data.archives.forms import Form, find
from linescape.data.archives.idx import read_mnist
from linescape.errors import DataError, RecipeError, suggest

Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Images ``(n, channels, height, width)`` as uint8 or features ``(n, features)`` as float32, and labels ``(n,)``."""

_FIXED = 2106_16004  # the seed of sets and splits that are made here; replicates must not differ in them


@dataclass(frozen=True)
class Published:
    """A set that is not part of the package: where its files can lie below the root, besides a folder of its name.

    Attributes:
        places: files and folders below the root, with ``/``.
        layouts: CIFAR's own forms.
    """

    places: tuple[str, ...]
    layouts: tuple[Layout, ...] = ()


@dataclass(frozen=True)
class Known:
    """A data set with a name.

    Attributes:
        classes: number of classes.
        examples: sizes of the training and the test half.
        shape: of one input: ``(channels, height, width)`` or ``(features,)``.
        source: gives training and test half, or says where they are published.
    """

    classes: int
    examples: tuple[int, int]
    shape: tuple[int, ...]
    source: Callable[[], tuple[Arrays, Arrays]] | Published


def known(name: str) -> Known:
    """The data set of this name.

    Raises:
        RecipeError: no set has this name.
    """
    if name not in _KNOWN:
        raise RecipeError(f"There is no data set {name!r}. {suggest(name, _KNOWN)}")
    return _KNOWN[name]


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(_KNOWN)


def folder(root: Path | None = None) -> Path:
    """The folder of published sets: `root`, or the environment's ``LINESCAPE_DATA``, or one in the user's cache."""
    if root is not None:
        return root
    if named := os.environ.get("LINESCAPE_DATA"):
        return Path(named)
    return user_cache_path("linescape", appauthor=False) / "data"


def locate(name: str, root: Path | None = None) -> Form | None:
    """A published set as it lies in the folder of published sets, or None if it is not there.

    Raises:
        RecipeError: no set has this name.
        DataError: an archive there cannot be read.
    """
    source, at = known(name).source, folder(root)
    if not isinstance(source, Published):
        return None
    return next((form for place in (name, *source.places) if (form := find(at / place, source.layouts))), None)


def layouts(name: str) -> tuple[Layout, ...]:
    """CIFAR's own forms in which a set can lie."""
    source = known(name).source
    return source.layouts if isinstance(source, Published) else ()


def read(name: str, root: Path | None = None) -> tuple[Arrays, Arrays]:
    """Training and test half of a set, whole and as published.

    Raises:
        RecipeError: no set has this name.
        DataError: its files are missing, damaged, or are not the whole set.
    """
    source = known(name).source
    if not isinstance(source, Published):
        return checked(name, source())
    form = locate(name, root)
    if form is None:
        at = folder(root)
        raise DataError(
            "This data set is not part of the package, and "
            f"{at} {'does not have it' if at.is_dir() else 'is no folder'}. Run: linescape data get {name}. Or put its "
            f"files into {at / name}, or name your folder of data sets as root or in the environment variable "
            "LINESCAPE_DATA."
        )
    return checked(name, form.read())


def checked(name: str, halves: tuple[Arrays, Arrays]) -> tuple[Arrays, Arrays]:
    """The halves themselves, if they have the set's sizes.

    Raises:
        DataError: they are not the whole set, or another.
    """
    found, (train, test) = known(name), halves
    sizes = (len(train[1]), len(test[1]))
    if sizes != found.examples:
        raise DataError(
            f"The files of {name!r} hold {sizes[0]:,} training and {sizes[1]:,} test examples, but the set has "
            f"{found.examples[0]:,} and {found.examples[1]:,}. Results would go by the name of a set that they "
            "were not made with. Download the whole set."
        )
    for inputs, _ in halves:
        if inputs.shape[1:] != found.shape:
            raise DataError(
                f"The files of {name!r} hold inputs of shape {inputs.shape[1:]}, but those of the set have "
                f"{found.shape}: it is another set, or a changed one. Download the set as it is published."
            )
    return halves


def _fashion_mini() -> tuple[Arrays, Arrays]:
    return read_mnist(Path(__file__).parent / "fashion_mini")


def _spiral() -> tuple[Arrays, Arrays]:
    # Two intertwined spirals of two turns: radius 2 sqrt(t), angle 4 pi sqrt(t), t uniform in [0, 1], noise 0.02.
    # The target study's own spiral was not retrievable; this form follows its first author's earlier work, from memory.
    def draw(half: int, count: int) -> Arrays:
        random = np.random.default_rng([_FIXED, half])
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
    held = load_digits()
    images = np.rint(held.images * (255 / 16)).astype(np.uint8)[:, None]  # stored as whole numbers from 0 to 16
    labels = held.target.astype(np.int64)
    # The stored order goes by writer, so the halves are drawn: 50 test images of each digit.
    order = np.random.default_rng(_FIXED).permutation(len(labels))
    test = np.concatenate([order[labels[order] == digit][:50] for digit in range(10)])
    is_test = np.isin(order, test)
    train, test = order[~is_test], order[is_test]
    return (images[train], labels[train]), (images[test], labels[test])


def _cifar(layouts: tuple[Layout, ...]) -> Published:
    return Published(tuple(place for layout in layouts for place in (layout.folder, layout.archive)), layouts)


_KNOWN = {
    "fashion-mini": Known(10, (10_000, 2_000), (1, 28, 28), _fashion_mini),
    "spiral": Known(2, (2_000, 1_000), (2,), _spiral),
    "digits": Known(10, (1_297, 500), (1, 8, 8), _digits),
    "mnist": Known(10, (60_000, 10_000), (1, 28, 28), Published(("MNIST/raw", "MNIST"))),
    "fashion-mnist": Known(10, (60_000, 10_000), (1, 28, 28), Published(("FashionMNIST/raw", "FashionMNIST"))),
    "cifar10": Known(10, (50_000, 10_000), (3, 32, 32), _cifar(CIFAR10)),
    "cifar100": Known(100, (50_000, 10_000), (3, 32, 32), _cifar(CIFAR100)),
}
