"""Small data sets, written in the forms in which the real ones are published; shared by tests."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from linescape.data.archives.cifar import Layout


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 30, test: int = 20, end: str = "", blank: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    pack: Callable[[bytes], bytes] = gzip.compress if end else bytes
    for part, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28)) if blank else random.integers(0, 256, (count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte{end}").write_bytes(pack(idx(np.arange(count) % 10)))


def cifar_files(layout: Layout, count: int = 4) -> tuple[dict[str, bytes], dict[str, tuple[Any, Any]]]:
    """The files of a layout with `count` images each, and what they hold."""
    random = np.random.default_rng(0)
    files, held = {}, {}
    for name in (*layout.train, layout.test):
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = random.integers(0, 10, count)
        if layout.label_bytes == 2:
            files[name] = np.concatenate([labels[:, None] // 5, labels[:, None], pixels], 1).astype(np.uint8).tobytes()
        elif layout.label_bytes == 1:
            files[name] = np.concatenate([labels[:, None], pixels], 1).astype(np.uint8).tobytes()
        else:
            batch = {b"batch_label": b"a batch", b"data": pixels, b"filenames": [b"a.png"] * count}
            batch[str(layout.label).encode()] = labels.tolist()
            files[name] = pickle.dumps(batch, protocol=2)
        held[name] = (pixels.reshape(-1, 3, 32, 32), labels)
    return files, held


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@contextmanager
def no_large_allocation() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


def png(pixels: Any, kind: str = "PNG") -> bytes:
    """A file of pixels ``(channels, height, width)`` or as Pillow takes them."""
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def strip_files(count: int = 4) -> tuple[dict[str, bytes], np.ndarray, list[int]]:
    """The files of the npm package with `count` images a strip, all images and all labels, the test half last."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (6 * count, 3, 32, 32), dtype=np.uint8)
    labels = (3 * np.arange(6 * count) % 10).tolist()
    files = {
        name: png(images[at * count : (at + 1) * count].transpose(0, 2, 3, 1).reshape(count, 1024, 3))
        for at, name in enumerate((*(f"data_batch_{n}.png" for n in range(1, 6)), "test_batch.png"))
    }
    files["train_lables.json"] = json.dumps(labels[: 5 * count]).encode()
    files["test_lables.json"] = json.dumps(labels[5 * count :]).encode()
    return files, images, labels


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
