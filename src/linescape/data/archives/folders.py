"""Folders of images, PNG or JPEG: train/CLASS and test/CLASS (or val/CLASS), or CLASS alone, which is a test half."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linescape.data.archives.files import Half, content
from linescape.data.archives.pictures import decode_all
from linescape.errors import DataError, abbreviate

_ENDS = (".png", ".jpg", ".jpeg")


def read_folders(folder: Path) -> tuple[Half, Half]:
    """Training and test half from the folders ``train`` and ``test`` (or ``val``) of a folder: see `find_images`.

    Raises:
        DataError: as in `find_images`, a half is missing, or a file is no image of the others' size.
    """
    if not has_halves(folder):
        raise DataError(f"{folder} has no train/ and test/ (or val/), so the set is not whole. Put both there.")
    halves = find_images(folder)
    return _half(halves["train"]), _half(halves["test" if "test" in halves else "val"])


def has_halves(folder: Path) -> bool:
    """Whether a folder has the folders of both halves."""
    return (folder / "train").is_dir() and ((folder / "test").is_dir() or (folder / "val").is_dir())


def find_images(folder: Path) -> dict[str, list[tuple[Path, int]]]:
    """The image files of each half (``train``, ``test``, ``val``) and their labels, class by class, sorted by name.

    A class is a folder. Classes are numbered in the order of their names, and by value if all names are numbers. A
    folder without halves is a test half itself.

    Raises:
        DataError: the folder is not there, a half has no images, or the halves have different classes.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name the one that holds train/CLASS and test/CLASS, or CLASS.")
    halves = {half: folder / half for half in ("train", "test", "val") if (folder / half).is_dir()} or {"test": folder}
    names = _classes(next(iter(halves.values())))
    images: dict[str, list[tuple[Path, int]]] = {}
    for half, parent in halves.items():
        if differing := set(names) ^ set(_classes(parent)):
            raise DataError(
                f"The halves in {folder} do not have the same classes ({abbreviate(sorted(differing))}), so classes "
                "cannot be numbered. Put a folder for each class into every half."
            )
        images[half] = [(file, label) for label, name in enumerate(names) for file in _files(parent / name)]
        if not images[half]:
            raise DataError(f"{parent} has no folder of a class with PNG or JPEG files in it: there are no examples.")
    return images


def _classes(half: Path) -> list[str]:
    names = sorted(folder.name for folder in half.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _ENDS and not file.name.startswith("."))


def _half(images: list[tuple[Path, int]]) -> Half:
    pixels = decode_all((content(file), str(file)) for file, _ in images)
    return pixels, np.array([label for _, label in images], np.int64)
