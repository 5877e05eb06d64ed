"""Reads image archives as their authors publish them: MNIST's IDX, CIFAR's Python and binary archives.

Nothing in a file is executed, nothing is unpacked to disk, and a size written in a header is believed
only as far as there are bytes.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn, cast

import numpy as np
import numpy.typing as npt

from linescape.data.pickles import read_pickle
from linescape.errors import DataError

Half = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images ``(n, channels, height, width)`` and labels ``(n,)``."""

_CHUNK = 1 << 20
_MOST = 1 << 29  # bytes; the largest of these sets, CIFAR, takes 186 MB


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes, plain or gzip: images ``(n, height, width)`` or labels ``(n,)``.

    Format: http://yann.lecun.com/exdb/mnist (big-endian: 0, 0, type 8, number of dimensions, each dimension).

    Raises:
        DataError: the file is truncated, damaged, too long, or is something else.
    """
    with _reading(path), _opened(path) as stream:
        magic = _exactly(stream, 4, path)
        if magic[:3] != b"\0\0\x08" or magic[3] not in (1, 3):
            _damaged(
                path, f"starts with {magic.hex(' ')}, where an IDX file of images or labels has 00 00 08 and 03 or 01"
            )
        shape = struct.unpack(f">{magic[3]}I", _exactly(stream, 4 * magic[3], path))
        if math.prod(shape) > _MOST:
            _damaged(path, f"announces {shape} bytes in its header, more than any set that is read here")
        body = _exactly(stream, math.prod(shape), path)
        if stream.read(1):
            _damaged(path, f"goes on after the {shape} bytes that its header announces")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_mnist(folder: Path) -> tuple[Half, Half]:
    """Training and test half of MNIST or a set in its format, from the four IDX files in a folder.

    Raises:
        DataError: a file is missing or damaged, or images and labels do not belong together.
    """
    return _mnist_half(folder, "train"), _mnist_half(folder, "t10k")


def _mnist_half(folder: Path, part: str) -> Half:
    images = read_idx(_idx_file(folder, f"{part}-images", 3))
    labels = read_idx(_idx_file(folder, f"{part}-labels", 1))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{folder} has {part} images of shape {images.shape} and labels of shape {labels.shape}: they do not "
            "belong together. Download the four files again."
        )
    return images[:, None], labels.astype(np.int64)


def _idx_file(folder: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{folder} has no {names[0]} (or {names[1]}), so the set is not whole. Put the four IDX files there."
    )


@dataclass(frozen=True)
class Layout:
    """One form in which CIFAR is published: an archive, the folder in it, its files and what they hold.

    Attributes:
        archive: name of the archive; `folder`: of the folder that it unpacks to.
        train: files of the training half, in order; `test`: of the test half.
        label: for Python archives the key of the labels; for binary ones the position of the label byte.
        label_bytes: bytes before each image of a binary archive; 0 for Python archives.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label: str | int
    label_bytes: int = 0


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR10 = (
    Layout("cifar-10-python.tar.gz", "cifar-10-batches-py", _BATCHES, "test_batch", "labels"),
    Layout(
        "cifar-10-binary.tar.gz", "cifar-10-batches-bin", tuple(f"{b}.bin" for b in _BATCHES), "test_batch.bin", 0, 1
    ),
)
CIFAR100 = (
    Layout("cifar-100-python.tar.gz", "cifar-100-python", ("train",), "test", "fine_labels"),
    Layout("cifar-100-binary.tar.gz", "cifar-100-binary", ("train.bin",), "test.bin", 1, 2),
)
"""CIFAR-100 is read with its 100 fine labels."""


def read_cifar(place: Path, layout: Layout) -> tuple[Half, Half]:
    """Training and test half of CIFAR-10 or CIFAR-100, from the archive as downloaded or from its folder.

    Raises:
        DataError: files are missing, damaged, hold anything but data, or leave the archive's folder.
    """
    wanted = (*layout.train, layout.test)
    with _reading(place):
        files = _from_folder(place, wanted) if place.is_dir() else _from_archive(place, layout.folder, wanted)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise DataError(
            f"{place} has no {', '.join(missing)}, so the set is not whole. Download {layout.archive} again."
        )
    halves = {name: _cifar_file(files.pop(name), layout, f"{name} of {place}") for name in wanted}
    train = [halves[name] for name in layout.train]
    return (np.concatenate([half[0] for half in train]), np.concatenate([half[1] for half in train])), halves[
        layout.test
    ]


def _cifar_file(content: bytes, layout: Layout, source: str) -> Half:
    if isinstance(layout.label, int):
        width = layout.label_bytes + 3072
        if len(content) % width:
            _damaged(source, f"has {len(content)} bytes, not a multiple of the {width} that one image takes")
        rows = np.frombuffer(content, np.uint8).reshape(-1, width)
        pixels, labels = rows[:, layout.label_bytes :], rows[:, layout.label].astype(np.int64)
        return np.ascontiguousarray(pixels).reshape(-1, 3, 32, 32), labels
    held = read_pickle(content, source)
    data, listed = held.get("data"), held.get(layout.label)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        _damaged(source, "has no 'data' of bytes with 3072 a row")
    if isinstance(listed, list) and not all(isinstance(label, int) for label in listed):
        _damaged(source, f"has {layout.label!r} that are not whole numbers")
    if not isinstance(listed, list | np.ndarray) or np.shape(listed) != (len(data),):
        _damaged(source, f"has no {layout.label!r}, one for each of its {len(data)} images")
    return np.ascontiguousarray(data).reshape(-1, 3, 32, 32), np.asarray(listed, np.int64)


def _from_folder(folder: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    found = {}
    for name in wanted:
        if (folder / name).is_file():
            if (folder / name).stat().st_size > _MOST:
                _damaged(folder / name, f"is larger than {_MOST} bytes")
            found[name] = (folder / name).read_bytes()
    return found


def _from_archive(path: Path, folder: str, wanted: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _opened(path) as stream:
        capped = _Capped(stream, path)
        with tarfile.open(fileobj=capped, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    _damaged(path, f"has a member {member.name!r} that points out of its own folder")
                # A sparse member is long without bytes in the file; no archive of CIFAR has one.
                if member.isreg() and not member.issparse() and name.parent.name == folder and name.name in wanted:
                    held = archive.extractfile(member)
                    found[name.name] = _exactly(cast(BinaryIO, held), member.size, path)
        while capped.read():  # to the end of the file, where gzip's checksum stands
            pass
    return found


class _Capped(io.RawIOBase):
    """A stream that stops being read beyond `_MOST` bytes, so that a small file cannot unpack to a large one."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.count = stream, path, 0

    def read(self, size: int = -1, /) -> bytes:
        content = self.stream.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self.count += len(content)
        if self.count > _MOST:
            _damaged(self.path, f"unpacks to more than {_MOST} bytes")
        return content


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as plain:
        compressed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not compressed:
            yield plain
            return
        with gzip.GzipFile(fileobj=plain) as stream:
            yield cast(BinaryIO, stream)


def _exactly(stream: BinaryIO, count: int, path: Path) -> bytes:
    content = bytearray()
    while len(content) < count:
        piece = stream.read(min(_CHUNK, count - len(content)))
        if not piece:
            _damaged(path, f"ends {count - len(content)} bytes before its header says")
        content += piece
    return bytes(content)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(f"{path} is damaged ({error}), so its images cannot be trusted. Download it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Check the path and its permissions.") from error


def _damaged(source: Path | str, what: str) -> NoReturn:
    raise DataError(f"{source} {what}. It is damaged or not the file that it should be: download it again.")
