"""CIFAR-10 and CIFAR-100 as published: archives of Python pickles or of binary files, packed or unpacked."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from linescape.data.archives.files import MOST, Arrays, content, damaged, members
from linescape.data.pickles import Foreign, Machine, UnreadableError
from linescape.errors import DataError


@dataclass(frozen=True)
class Layout:
    """One published form of CIFAR: an archive, the folder in it, its files and their content.

    Attributes:
        archive: name of the archive.
        folder: name of the folder in it.
        train: files of the training split, in order.
        test: file of the test split.
        label: for Python archives the key of the labels; for binary ones the position of the label byte.
        label_bytes: bytes before each image of a binary archive; 0 for Python archives.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label: str | int
    label_bytes: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """The files of both splits."""
        return (*self.train, self.test)


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


def read_cifar(path: Path, layout: Layout) -> tuple[Arrays, Arrays]:
    """Training and test split of CIFAR-10 or CIFAR-100, from the archive as downloaded or from its folder.

    Raises:
        DataError: files are missing, damaged, hold anything but data, or leave the archive's folder.
    """
    if path.is_dir():
        files = {name: content(path / name) for name in layout.files if (path / name).is_file()}
    else:
        packed = members(path, lambda name: name.parent.name == layout.folder and name.name in layout.files)
        files = {name.name: packed[name] for name in packed}
    missing = [name for name in layout.files if name not in files]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}, so the data set is incomplete. Download {layout.archive} again."
        )
    splits = {name: _read_split(files.pop(name), layout, f"{name} of {path}") for name in layout.files}
    images, labels = (np.concatenate(parts) for parts in zip(*(splits[name] for name in layout.train), strict=True))
    return (images, labels), splits[layout.test]


def _read_split(content: bytes, layout: Layout, source: str) -> Arrays:
    if isinstance(layout.label, int):
        width = layout.label_bytes + 3072
        if len(content) % width:
            damaged(source, f"has {len(content)} bytes, not a multiple of the {width} that one image takes")
        rows = np.frombuffer(content, np.uint8).reshape(-1, width)
        pixels = np.ascontiguousarray(rows[:, layout.label_bytes :])
        return pixels.reshape(-1, 3, 32, 32), rows[:, layout.label].astype(np.int64)
    batch = read_pickle(content, source)
    data, labels = batch.get("data"), batch.get(layout.label)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        damaged(source, "has no 'data' of bytes with 3072 a row")
    if isinstance(labels, list) and not all(isinstance(label, int) for label in labels):
        damaged(source, f"has {layout.label!r} that are not whole numbers")
    if not isinstance(labels, list | np.ndarray) or np.shape(labels) != (len(data),):
        damaged(source, f"has no {layout.label!r}, one for each of its {len(data)} images")
    return np.ascontiguousarray(data).reshape(-1, 3, 32, 32), np.asarray(labels, np.int64)


_TYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype("u1"), "i4": np.dtype("<i4"), "i8": np.dtype("<i8")}
_ADVICE = "Do not use this file; download the archive from its authors' page."


def read_pickle(content: bytes, source: str) -> dict[str, Any]:
    """A pickled dictionary of arrays, lists, numbers and text; bytes become text.

    Args:
        content: the whole pickle, protocol 2 to 4.
        source: what to call it in a message.

    Raises:
        DataError: the pickle asks for anything else, is damaged, or holds no dictionary.
    """
    machine = _Machine(io.BytesIO(content))
    try:
        batch = machine.run(len(content))
        if isinstance(batch, dict) and not machine.foreign:
            return {key: _array(value) if isinstance(value, Foreign) else value for key, value in batch.items()}
    except (UnreadableError, ValueError, TypeError, LookupError) as error:  # the last three of what is no array
        raise DataError(f"{source} is not a readable pickle ({error}). {_ADVICE}") from error
    kind = f"names {', '.join(sorted(machine.foreign))}" if machine.foreign else f"holds a {type(batch).__name__}"
    raise DataError(
        f"{source} {kind}, where CIFAR's files hold a dictionary of arrays, lists and text. Nothing from a file is "
        f"ever executed. {_ADVICE}"
    )


class _Machine(Machine):
    functions: ClassVar = {
        **{f"numpy.{core}.multiarray._reconstruct": lambda *_: Foreign("array") for core in ("core", "_core")},
        "numpy.ndarray": lambda *_: None,  # only ever an argument of _reconstruct
        "numpy.dtype": lambda code, *_: Foreign(code),
        "_codecs.encode": lambda text, _: text,
    }
    longest = MOST
    refused = b"\x8f\x90\x91\x96"  # sets and byte arrays

    def text(self, length: str, encoding: str | None) -> None:
        """Read bytes as text: Python 2 did not distinguish them."""
        super().text(length, encoding or "latin1")


def _array(described: Foreign) -> npt.NDArray[Any]:
    if described.state is None:
        return np.empty(0, np.uint8)
    _, shape, kind, by_column, raw = described.state
    dtype = _TYPES[kind.kind]
    if kind.state and kind.state[1] == ">":
        dtype = dtype.newbyteorder(">")
    values: npt.NDArray[Any] = np.frombuffer(raw.encode("latin1"), dtype)
    return values.reshape(shape, order="F" if by_column else "C")
