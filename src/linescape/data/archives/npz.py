"""A data set in one npz file, as in Keras: the arrays x_train, y_train, x_test and y_test."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linescape.data.archives.files import MOST, Arrays, damaged, exactly, reading
from linescape.errors import DataError


def read_npz(path: Path) -> tuple[Arrays, Arrays]:
    """Training and test split of an npz file.

    Images are ``(n, height, width)`` or ``(n, height, width, channels)``, unsigned bytes; labels ``(n,)`` or
    ``(n, 1)``, whole numbers.

    Raises:
        DataError: an array is missing, damaged, too large, of another type, or holds objects.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        arrays = {name: _array(archive, name, path) for name in ("x_train", "y_train", "x_test", "y_test")}
    train, test = (_read_split(arrays[f"x_{split}"], arrays[f"y_{split}"], path) for split in ("train", "test"))
    return train, test


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> npt.NDArray[np.generic]:
    source = f"{name} of {path}"
    if f"{name}.npy" not in archive.namelist():
        damaged(path, f"has no array {name!r}, and the set is x_train, y_train, x_test and y_test")
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > MOST:
        damaged(source, f"unpacks to more than {MOST} bytes")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        damaged(source, "is packed as numpy does not pack, or has a password")
    with archive.open(entry) as stream:
        content = exactly(stream, entry.file_size, source)
    packed = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(packed)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, kind = header(packed)
    except Exception as error:  # numpy takes the header for a Python literal, and a damaged one can fail in any way
        raise DataError(f"{source} is no readable array ({error}). Download it again.") from error
    # numpy's own reader would take the memory that the header asks for before it looks at what is there.
    if kind.kind not in "ui" or math.prod(shape) * kind.itemsize != len(content) - packed.tell():
        damaged(source, f"announces {shape} of {kind}, which its {len(content)} bytes are not")
    return np.frombuffer(content, kind, offset=packed.tell()).reshape(shape, order="F" if by_column else "C")


def _read_split(pixels: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], path: Path) -> Arrays:
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)):
        damaged(path, f"has images of shape {pixels.shape} and type {pixels.dtype}, not (n, height, width[, 3]) bytes")
    if labels.shape not in ((len(pixels),), (len(pixels), 1)):
        damaged(path, f"has labels of shape {labels.shape} for {len(pixels)} images")
    images = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images, np.uint8), labels.reshape(-1).astype(np.int64)
