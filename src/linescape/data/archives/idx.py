"""IDX, the format of MNIST and its successors: four files of images and labels, plain or gzip."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linescape.data.archives.files import MOST, Arrays, damaged, exactly, opened, reading
from linescape.errors import DataError


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, plain or gzip: images ``(n, height, width)`` or labels ``(n,)``.

    Format: http://yann.lecun.com/exdb/mnist (big-endian: 0, 0, type 8, number of dimensions, each dimension).

    Raises:
        DataError: the file is truncated, damaged, too long, or is something else.
    """
    with reading(path), opened(path) as stream:
        magic = exactly(stream, 4, path)
        if magic[:3] != b"\0\0\x08" or magic[3] not in (1, 3):
            damaged(
                path, f"starts with {magic.hex(' ')}, where an IDX file of images or labels has 00 00 08 and 03 or 01"
            )
        shape = struct.unpack(f">{magic[3]}I", exactly(stream, 4 * magic[3], path))
        if math.prod(shape) > MOST:
            damaged(path, f"announces {shape} bytes in its header, more than any data set that is read here")
        body = exactly(stream, math.prod(shape), path)
        if stream.read(1):
            damaged(path, f"goes on after the {shape} bytes that its header announces")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_mnist(folder: Path) -> tuple[Arrays, Arrays]:
    """Training and test split of a data set in the format of MNIST, from the four IDX files in a folder.

    Raises:
        DataError: a file is missing or damaged, or images and labels do not belong together.
    """
    return _read_split(folder, "train"), _read_split(folder, "t10k")


def idx_files(folder: Path) -> list[Path]:
    """The IDX files of a data set in a folder, train before test and images before labels."""
    parts = ("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1)
    return [file for part in parts for name in _names(*part) if (file := folder / name).is_file()]


def _read_split(folder: Path, split: str) -> Arrays:
    images, labels = _read(folder, f"{split}-images", 3), _read(folder, f"{split}-labels", 1)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{folder} has {split} images of shape {images.shape} and labels of shape {labels.shape}: they do not "
            "belong together. Download the four files again."
        )
    return images[:, None], labels.astype(np.int64)


def _read(folder: Path, part: str, dimensions: int) -> npt.NDArray[np.uint8]:
    names = _names(part, dimensions)
    for name in names:
        if (folder / name).is_file():
            return read_idx(folder / name)
    raise DataError(
        f"{folder} has no {names[0]} (or {names[1]}), so the data set is incomplete. Put the four IDX files there."
    )


def _names(part: str, dimensions: int) -> list[str]:
    return [f"{part}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
