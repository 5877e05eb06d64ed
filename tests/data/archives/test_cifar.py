from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linescape.data.archives.cifar import CIFAR10, CIFAR100, Layout, read_cifar, read_pickle
from linescape.errors import DataError
from tests.support.sets_on_disk import cifar_files, no_large_allocation, write_tar


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", [*CIFAR10, *CIFAR100], ids=lambda layout: layout.folder)
def test_cifar_in_every_published_form(tmp_path: Path, layout: Layout, packed: bool) -> None:
    files, held = cifar_files(layout)
    if packed:
        place = write_tar(tmp_path / layout.archive, {f"{layout.folder}/{name}": files[name] for name in files})
    else:
        place = tmp_path / layout.folder
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
    (images, labels), (test_images, test_labels) = read_cifar(place, layout)
    np.testing.assert_array_equal(images, np.concatenate([held[name][0] for name in layout.train]))
    np.testing.assert_array_equal(labels, np.concatenate([held[name][1] for name in layout.train]))
    np.testing.assert_array_equal(test_images, held[layout.test][0])
    np.testing.assert_array_equal(test_labels, held[layout.test][1])


def test_a_pickle_as_python_2_wrote_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    content = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87"
        b"Rq\x05(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff"
        b"\xff\xffK\x00tb\x89T" + struct.pack("<i", 6144) + pixels.tobytes() + b"tbU\x06labelsq\x08]q\t(K\x06K\teu."
    )
    held = read_pickle(content, "a batch")
    np.testing.assert_array_equal(held["data"], pixels)
    assert held["labels"] == [6, 9]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["u1", "<i8", ">i4"])
def test_arrays_of_any_protocol_order_and_type(protocol: int, order: Any, kind: str) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4), dtype=kind, order=order)
    held = read_pickle(pickle.dumps({"data": array, b"labels": [1, 2, 300]}, protocol=protocol), "a batch")
    np.testing.assert_array_equal(held["data"], array)
    assert held["labels"] == [1, 2, 300]


class Bomb:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.made = (call, arguments)

    def __reduce__(self) -> Any:
        return self.made


def reconstruct(*arguments: Any) -> bytes:
    return pickle.dumps({b"data": Bomb(np.zeros(0).__reduce__()[0], *arguments)}, protocol=2)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Bomb(os.system, "touch executed")}, protocol=2),
        pickle.dumps({"data": Bomb(eval, "open('executed', 'w')")}, protocol=4),
        pickle.dumps({"data": Bomb(np.fromfile, "executed")}, protocol=2),
        pickle.dumps({"data": Bomb(np.zeros, 10**12)}, protocol=2),
        pickle.dumps({"data": np.array([os.system, 1], dtype=object)}, protocol=2),
        pickle.dumps({"data": np.zeros(3)}, protocol=2),
        pickle.dumps({"data": bytearray(5)}, protocol=5),
        pickle.dumps({"data": {1, 2}}, protocol=4),
        pickle.dumps({"data": Path("executed")}, protocol=2),
        pickle.dumps([1, 2], protocol=2),
        b"cos\nsystem\n(S'touch executed'\ntR.",
        b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",  # ndarray called itself
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x04\x00\x00\x00callX\x01\x00\x00\x00xsb.",
        b"\x80\x02]r\xff\xff\xff\x7f.",  # memo slot 2**31 - 1
        b"\x80\x04\x96" + struct.pack("<Q", 2**62) + b".",  # a byte array of 2**62 bytes
        b"\x80\x02T\xff\xff\xff\x7fabc.",  # a string of 2**31 - 1 bytes
        b"\x80\x02Papid\n.",
        pickle.dumps({"data": np.zeros(9, np.uint8)}, protocol=2)[:-30],
        b"",
        b"not a pickle",
    ],
)
def test_a_pickle_that_is_more_than_data_is_refused_and_nothing_runs(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with no_large_allocation(), pytest.raises(DataError, match=r"[Dd]ownload"):
        read_pickle(content, "a batch")
    assert not list(tmp_path.iterdir())


def test_reconstructed_arrays_hold_no_more_than_the_file(tmp_path: Path) -> None:
    with no_large_allocation():
        held = read_pickle(reconstruct(np.ndarray, (10**12,), b"b"), "a batch")
    assert held["data"].size == 0
    big = np.zeros(4, np.uint8)
    content = pickle.dumps({"data": big}, protocol=2).replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85")
    with no_large_allocation(), pytest.raises(DataError, match="not a readable pickle"):
        read_pickle(content, "a batch")


@pytest.mark.parametrize(
    "batch",
    [
        {"labels": [1, 2]},
        {"data": [1, 2], "labels": [1, 2]},
        {"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]},
        {"data": np.zeros((2, 3072), np.int64), "labels": [1, 2]},
        {"data": np.zeros((2, 3072), np.uint8)},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, "2"]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": "ab"},
    ],
)
def test_cifar_batches_of_another_shape_are_refused(tmp_path: Path, batch: dict[str, Any]) -> None:
    files, _ = cifar_files(CIFAR10[0])
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DataError, match="data_batch_3 of"):
        read_cifar(tmp_path, CIFAR10[0])


@pytest.mark.parametrize("layout", CIFAR10, ids=lambda layout: layout.folder)
def test_a_changed_bit_in_a_packed_archive_is_found(tmp_path: Path, layout: Layout) -> None:
    files, _ = cifar_files(layout)
    place = write_tar(tmp_path / "a.tar.gz", {f"{layout.folder}/{name}": content for name, content in files.items()})
    whole = place.read_bytes()
    for at in range(40, len(whole), len(whole) // 20):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(DataError, match=r"[Dd]ownload"):
            read_cifar(place, layout)


def test_damaged_cifar_archives_are_refused(tmp_path: Path) -> None:
    layout = CIFAR10[1]
    files, _ = cifar_files(layout)
    packed = {f"{layout.folder}/{name}": content for name, content in files.items()}
    place = write_tar(tmp_path / "a.tar.gz", packed)
    whole = place.read_bytes()
    for cut in (0, 5, 30, len(whole) // 2, len(whole) - 9):
        place.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"[Dd]ownload"):
            read_cifar(place, layout)
    plain = gzip.decompress(whole)
    place.write_bytes(plain[: len(plain) // 2])
    with pytest.raises(DataError, match=r"[Dd]ownload"):
        read_cifar(place, layout)
    short = {**packed, f"{layout.folder}/data_batch_2.bin": b"123"}
    with pytest.raises(DataError, match="not a multiple of the 3073"):
        read_cifar(write_tar(place, short), layout)
    del packed[f"{layout.folder}/data_batch_2.bin"]
    with pytest.raises(DataError, match=r"has no data_batch_2\.bin"):
        read_cifar(write_tar(place, packed), layout)
    with pytest.raises(DataError, match="cannot be read"):
        read_cifar(tmp_path / "nothing", layout)
