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
    names = classes(train)
    if classes(test) != names:
        differ = sorted(set(names) ^ set(classes(test)))
        raise DataError(
            f"{train} and {test} do not have the same folders ({', '.join(differ[:5])}), so classes cannot be "
            "numbered. Put a folder for each class into both."
        )
    return _half(train, names), _half(test, names)


def test_folder(place: Path) -> Path | None:
    """The folder of the test half, or None."""
    return next((place / name for name in TESTS if (place / name).is_dir()), None)


def images(half: Path) -> list[Path]:
    """The image files of a half, class by class."""
    return [file for name in classes(half) for file in of_class(half / name)]


def classes(half: Path) -> list[str]:
    """The names of the classes of a half, in the order of their numbers."""
    names = sorted(folder.name for folder in half.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def of_class(folder: Path) -> list[Path]:
    """The image files of a class, in the order of their names."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDS and not file.name.startswith("."))


def _half(half: Path, names: list[str]) -> Half:
    files = [of_class(half / name) for name in names]
    pixels = decode_all((content(file), str(file)) for own in files for file in own)
    return pixels, np.repeat(np.arange(len(names), dtype=np.int64), [len(own) for own in files])
