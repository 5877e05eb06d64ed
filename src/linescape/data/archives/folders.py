"""Folders of PNG and JPEG images: train/CLASS and test/CLASS (or val/CLASS), or only CLASS, which is a test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linescape.data.archives.files import Arrays, content, looking
from linescape.data.archives.pictures import decode_all
from linescape.errors import DataError, abbreviate

_ENDS = (".png", ".jpg", ".jpeg")


def read_folders(folder: Path) -> tuple[Arrays, Arrays]:
    """Training and test split from the folders ``train`` and ``test`` (or ``val``) of a folder: see `find_images`.

    Raises:
        DataError: as in `find_images`, a split is missing, or a file is no image of the others' size.
    """
    if not has_splits(folder):
        raise DataError(f"{folder} has no train/ and test/ (or val/), so the data set is incomplete. Put both there.")
    splits = find_images(folder)
    return _read_split(splits["train"]), _read_split(splits["test" if "test" in splits else "val"])


def has_splits(folder: Path) -> bool:
    """Whether a folder has the folders ``train`` and ``test`` (or ``val``)."""
    return (folder / "train").is_dir() and ((folder / "test").is_dir() or (folder / "val").is_dir())


def find_images(folder: Path) -> dict[str, list[tuple[Path, int]]]:
    """The image files of each split (``train``, ``test``, ``val``) and their labels, class by class, sorted by name.

    A class is a folder. Classes are numbered in the order of their names, and by value if all names are numbers. A
    folder without folders of splits is a test split.

    Raises:
        DataError: the folder is not there or cannot be read, a split has no images, or the splits have different
            classes.
    """
    with looking(folder):
        return _find_images(folder)


def _find_images(folder: Path) -> dict[str, list[tuple[Path, int]]]:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name the one that holds train/CLASS and test/CLASS, or CLASS.")
    named = {split: folder / split for split in ("train", "test", "val") if (folder / split).is_dir()}
    splits = named or {"test": folder}
    names = _classes(next(iter(splits.values())))
    images: dict[str, list[tuple[Path, int]]] = {}
    for split, parent in splits.items():
        if differing := set(names) ^ set(_classes(parent)):
            raise DataError(
                f"The splits in {folder} do not have the same classes ({abbreviate(sorted(differing))}), so classes "
                "cannot be numbered. Put a folder for each class into every split."
            )
        images[split] = [(file, label) for label, name in enumerate(names) for file in _files(parent / name)]
        if not images[split]:
            raise DataError(f"{parent} has no folder of a class with PNG or JPEG files in it: there are no examples.")
    return images


def _classes(split: Path) -> list[str]:
    names = sorted(folder.name for folder in split.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _ENDS and not file.name.startswith("."))


def _read_split(images: list[tuple[Path, int]]) -> Arrays:
    pixels = decode_all((content(file), str(file)) for file, _ in images)
    return pixels, np.array([label for _, label in images], np.int64)
