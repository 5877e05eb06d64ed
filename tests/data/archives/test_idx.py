from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from linescape.data.archives.idx import read_idx, read_mnist
from linescape.errors import DataError
from tests.support.sets_on_disk import idx, no_large_allocation, write_mnist


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_round_trip(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 7, 3))
    (tmp_path / "file").write_bytes(pack(idx(images)))
    np.testing.assert_array_equal(read_idx(tmp_path / "file"), images)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist_files(tmp_path: Path, end: str) -> None:
    write_mnist(tmp_path, end=end)
    (train, train_labels), (test, _) = read_mnist(tmp_path)
    assert train.shape == (30, 1, 28, 28)
    assert test.shape == (20, 1, 28, 28)
    assert train_labels.tolist() == [n % 10 for n in range(30)]


packed = partial(gzip.compress, mtime=0)  # the names of tests must not change with the time


WHOLE = idx(np.zeros((50, 28, 28)))


@pytest.mark.parametrize(  # mtime=0: the bytes are part of a test's name, which all processes must agree on
    ("content", "said"),
    [
        (b"", "ends 4 bytes before"),
        (WHOLE[:9], "before its header says"),
        (WHOLE[:-1], "ends 1 bytes before"),
        (WHOLE + b"\0", "goes on after"),
        (b"\0\0\x0d\x03" + WHOLE[4:], "starts with 00 00 0d 03"),
        (b"\0\0\x08\x02" + WHOLE[4:], "starts with 00 00 08 02"),
        (b"\x89PNG" + WHOLE[4:], "starts with 89 50"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100), "more than any data set"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 600_000, 28, 28) + bytes(100), "before its header says"),
        (packed(WHOLE)[:-20], "damaged"),
        (packed(WHOLE)[:12], "damaged"),
        (packed(np.random.default_rng(0).bytes(5000))[:40] + b"\xff" * 50, "damaged"),
        (packed(struct.pack(">4B3I", 0, 0, 8, 3, 600_000, 28, 28) + bytes(99)), "before its header says"),
        (packed(WHOLE + bytes(20)), "goes on after"),
    ],
)
def test_bad_idx_files_are_refused_without_taking_memory(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with no_large_allocation(), pytest.raises(DataError, match=said) as caught:
        read_idx(tmp_path / "file")
    assert "ownload it again" in str(caught.value)


def test_images_and_labels_must_belong_together(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(29)))
    with pytest.raises(DataError, match="do not belong together"):
        read_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no train-labels-idx1-ubyte"):
        read_mnist(tmp_path)
