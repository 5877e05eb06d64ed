"""Folders of images: train/CLASS/*.png and test/CLASS/*.png, or JPEG; a class is a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linescape.data.archives.files import Half, content
from linescape.data.archives.pictures import decode_all
from linescape.errors import DataError

TESTS = ("test", "val")
ENDS = (".png", ".jpg", ".jpeg")


def read_folders(place: Path) -> tuple[Half, Half]:
    """Training and test half from the folders ``train`` and ``test`` (or ``val``) of a folder.

    Classes are numbered in the order of their folders' names, and by value if all names are numbers. Images come
    class by class, in the order of their files' names.

    Raises:
        DataError: a half is missing, the halves have different classes, or a file is no image of the others' size.
    """
    train, test = place / "train", test_folder(place)
    if test is None or not train.is_dir():
        raise DataError(f"{place} has no train/ and test/ (or val/), so the set is not whole. Put both there.")
    classes = _classes(train)
    if _classes(test) != classes:
        differ = sorted(set(classes) ^ set(_classes(test)))
        raise DataError(
            f"{train} and {test} do not have the same folders ({', '.join(differ[:5])}), so classes cannot be "
            "numbered. Put a folder for each class into both."
        )
    return _half(train, classes), _half(test, classes)


def test_folder(place: Path) -> Path | None:
    """The folder of the test half, or None."""
    return next((place / name for name in TESTS if (place / name).is_dir()), None)


def images(half: Path) -> list[Path]:
    """The image files of a half, class by class."""
    return [file for name in _classes(half) for file in _of_class(half / name)]


def _classes(half: Path) -> list[str]:
    names = sorted(folder.name for folder in half.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _of_class(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDS and not file.name.startswith("."))


def _half(half: Path, classes: list[str]) -> Half:
    files = [_of_class(half / name) for name in classes]
    pixels = decode_all((content(file), str(file)) for of_class in files for file in of_class)
    return pixels, np.repeat(np.arange(len(classes), dtype=np.int64), [len(of_class) for of_class in files])
