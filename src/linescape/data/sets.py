"""The data sets that have a name, and where each comes from: the package, a formula, scikit-learn or your archives."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from linescape.data.archives import CIFAR10, CIFAR100, Layout, read_cifar, read_mnist
from linescape.errors import DataError, RecipeError, near

Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Images ``(n, channels, height, width)`` as uint8 or features ``(n, features)`` as float32, and labels ``(n,)``."""

_FIXED = 2106_16004  # the seed of sets and splits that are made here; replicates must not differ in them


@dataclass(frozen=True)
class Known:
    """A data set with a name.

    Attributes:
        classes: number of classes.
        examples: sizes of the training and the test half.
        read: from the root of the user's archives (None if it was not given) to training and test half.
    """

    classes: int
    examples: tuple[int, int]
    read: Callable[[Path | None], tuple[Arrays, Arrays]]


def known(name: str) -> Known:
    """The data set of this name.

    Raises:
        RecipeError: no set has this name.
    """
    if name not in _KNOWN:
        raise RecipeError(f"There is no data set {name!r}. {near(name, _KNOWN)}")
    return _KNOWN[name]


def names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(_KNOWN)


def read(name: str, root: Path | None = None) -> tuple[Arrays, Arrays]:
    """Training and test half of a set, whole and as published.

    Raises:
        RecipeError: no set has this name.
        DataError: its files are missing, damaged, or are not the whole set.
    """
    found = known(name)
    train, test = found.read(root)
    sizes = (len(train[1]), len(test[1]))
    if sizes != found.examples:
        raise DataError(
            f"The files of {name!r} hold {sizes[0]:,} training and {sizes[1]:,} test examples, but the set has "
            f"{found.examples[0]:,} and {found.examples[1]:,}. Results would go by the name of a set that they "
            "were not made with. Download the whole set."
        )
    return train, test


def _fashion_mini(_: Path | None) -> tuple[Arrays, Arrays]:
    return read_mnist(Path(__file__).parent / "fashion_mini")


def _spiral(_: Path | None) -> tuple[Arrays, Arrays]:
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


def _digits(_: Path | None) -> tuple[Arrays, Arrays]:
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


def _mnist(name: str, torchvision: str) -> Callable[[Path | None], tuple[Arrays, Arrays]]:
    def find(root: Path | None) -> tuple[Arrays, Arrays]:
        wanted = f"the four IDX files of {name} in {name}/"
        at = _root(root, wanted)
        for folder in (at / name, at / torchvision / "raw", at / torchvision):
            if folder.is_dir():
                return read_mnist(folder)
        raise _nothing(at, wanted)

    return find


def _cifar(layouts: tuple[Layout, ...]) -> Callable[[Path | None], tuple[Arrays, Arrays]]:
    def find(root: Path | None) -> tuple[Arrays, Arrays]:
        wanted = " or ".join(layout.archive for layout in layouts) + ", packed or unpacked"
        at = _root(root, wanted)
        for layout in layouts:
            for place in (at / layout.folder, at / layout.archive):
                if place.exists():
                    return read_cifar(place, layout)
        raise _nothing(at, wanted)

    return find


def _root(root: Path | None, wanted: str) -> Path:
    named = root if root is not None else os.environ.get("LINESCAPE_DATA")
    if not named:
        raise DataError(
            "This data set is not part of the package, and no folder of archives was named. Put "
            f"{wanted} into a folder, and name the folder as root or in the environment variable LINESCAPE_DATA."
        )
    at = Path(named)
    if not at.is_dir():
        raise _nothing(at, wanted)
    return at


def _nothing(at: Path, wanted: str) -> DataError:
    return DataError(f"{at} {'does not have the data set' if at.is_dir() else 'is no folder'}. Put {wanted} into it.")


_KNOWN = {
    "fashion-mini": Known(10, (10_000, 2_000), _fashion_mini),
    "spiral": Known(2, (2_000, 1_000), _spiral),
    "digits": Known(10, (1_297, 500), _digits),
    "mnist": Known(10, (60_000, 10_000), _mnist("mnist", "MNIST")),
    "fashion-mnist": Known(10, (60_000, 10_000), _mnist("fashion-mnist", "FashionMNIST")),
    "cifar10": Known(10, (50_000, 10_000), _cifar(CIFAR10)),
    "cifar100": Known(100, (50_000, 10_000), _cifar(CIFAR100)),
}
