from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import math
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linescape import data
from linescape.data import sets
from linescape.data.archives import files as archive_files
from linescape.data.archives.cifar import CIFAR10, CIFAR100, Layout, read_cifar, read_pickle
from linescape.data.archives.idx import read_idx, read_mnist
from linescape.data.dataset import Dataset, Split, rank_in_class
from linescape.data.treatments import moments, shrink
from linescape.errors import DataError, RecipeError
from linescape.recipe import Data, Poison
from tests.support.sets_on_disk import cifar_files, idx, no_large_allocation, write_mnist, write_tar

ROOT = Path(__file__).parents[2]


# ---- the embedded set ------------------------------------------------------------------------------------------------


def test_the_embedded_files_are_those_that_the_script_made() -> None:
    spec = importlib.util.spec_from_file_location("make_fashion_mini", ROOT / "scripts" / "make_fashion_mini.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert len(script.SHA256) == 4
    for name, expected in script.SHA256.items():
        content = (script.TARGET / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected
        assert content[3:8] == bytes(5), "no name and no time in the header"
    assert "Zalando" in (script.TARGET / "NOTICE").read_text()


def test_fashion_mini_is_balanced() -> None:
    dataset = data.load(Data())
    assert dataset.shape == (1, 28, 28)
    assert dataset.train.inputs.dtype == torch.uint8
    assert torch.bincount(dataset.train.targets).tolist() == [1000] * 10
    assert torch.bincount(dataset.test.targets).tolist() == [200] * 10
    # The whole set's published mean and deviation are 0.2860 and 0.3530.
    assert dataset.mean[0] == pytest.approx(0.286, abs=0.003)
    assert dataset.std[0] == pytest.approx(0.353, abs=0.003)


def test_no_image_of_fashion_mini_is_in_both_splits() -> None:
    dataset = data.load(Data())
    train = {image.numpy().tobytes() for image in dataset.train.inputs}
    assert not any(image.numpy().tobytes() in train for image in dataset.test.inputs)


# ---- sets that are made here -----------------------------------------------------------------------------------------


def test_spiral_arms_are_each_other_turned_round() -> None:
    dataset = data.load(Data(name="spiral"))
    assert dataset.shape == (2,)
    assert (len(dataset.train), len(dataset.test)) == (2000, 1000)
    assert torch.bincount(dataset.train.targets).tolist() == [1000, 1000]
    reach = torch.linspace(0, 1, 4000)
    arm = 2 * reach[:, None] * torch.stack([torch.cos(4 * math.pi * reach), torch.sin(4 * math.pi * reach)], 1)
    for split in (dataset.train, dataset.test):
        gaps = torch.stack([torch.cdist(split.inputs, way * arm).min(1).values for way in (1, -1)], 1)
        own = gaps.gather(1, split.targets[:, None])[:, 0]
        assert float(own.max()) < 0.1, "near their own arm, by noise of 0.02"
        outside = split.inputs.norm(dim=1) > 0.3
        assert torch.equal(gaps.argmin(1)[outside], split.targets[outside])


def test_sets_do_not_change_with_the_seed_of_the_run() -> None:
    one, other = data.load(Data(name="spiral"), seed=0), data.load(Data(name="spiral"), seed=1)
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert not torch.equal(one.train.inputs[:1000], one.test.inputs)


def test_digits_are_split_evenly() -> None:
    pytest.importorskip("sklearn")
    dataset = data.load(Data(name="digits"))
    assert dataset.shape == (1, 8, 8)
    assert (len(dataset.train), len(dataset.test)) == (1297, 500)
    assert torch.bincount(dataset.test.targets).tolist() == [50] * 10
    assert int(dataset.train.inputs.max()) == 255


def test_digits_without_scikit_learn_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"linescape\[digits\]"):
        data.load(Data(name="digits"))


def test_importing_the_package_does_not_import_scikit_learn() -> None:
    code = "import sys, linescape.data; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_sets_get_near_names() -> None:
    with pytest.raises(RecipeError, match="'cifar10'"):
        data.load(Data(name="cifar-10"))
    assert "fashion-mini" in data.names()


# ---- IDX -------------------------------------------------------------------------------------------------------------


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


# ---- CIFAR -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["../cifar-10-batches-bin/test_batch.bin", "/tmp/test_batch.bin", "a/../../b"])
def test_an_archive_that_points_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    layout = CIFAR10[1]
    files, _ = cifar_files(layout)
    packed = {f"{layout.folder}/{file}": content for file, content in files.items()}
    (tmp_path / "in").mkdir()
    place = write_tar(tmp_path / "in" / "a.tar.gz", {name: b"x", **packed})
    with pytest.raises(DataError, match="points out of its own folder"):
        read_cifar(place, layout)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    layout = CIFAR100[1]
    files, _ = cifar_files(layout)
    (tmp_path / "secret").write_bytes(files["train.bin"])
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo(f"{layout.folder}/train.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
        test = tarfile.TarInfo(f"{layout.folder}/test.bin")
        test.size = len(files["test.bin"])
        archive.addfile(test, io.BytesIO(files["test.bin"]))
    with pytest.raises(DataError, match=r"has no train\.bin"):
        read_cifar(tmp_path / "a.tar.gz", layout)


def test_a_small_archive_that_unpacks_to_a_large_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "MOST", 3_000_000)
    layout = CIFAR10[1]
    place = write_tar(tmp_path / "a.tar.gz", {f"{layout.folder}/data_batch_1.bin": bytes(30_000_000)})
    assert place.stat().st_size < 100_000
    with no_large_allocation(), pytest.raises(DataError, match="unpacks to more than 3000000 bytes"):
        read_cifar(place, layout)


# ---- finding archives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw"])
def test_mnist_from_the_root_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    write_mnist(tmp_path / folder, 60_000, 10_000, blank=True)
    assert len(data.load(Data(name="mnist"), root=str(tmp_path)).train) == 60_000
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path))
    dataset = data.load(Data(name="mnist"))
    assert dataset.std == (1.0,), "a constant channel is not divided by 0"
    assert not dataset.normalise(dataset.train.inputs[:9]).any()


def test_a_part_of_a_set_does_not_go_by_its_name(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    with pytest.raises(DataError, match=r"30 training and 20 test examples, but the data set has 60,000 and 10,000"):
        data.load(Data(name="mnist"), root=tmp_path)


def test_missing_sets_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINESCAPE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"data is no folder\. Run: linescape data get cifar10\..*LINESCAPE_DATA"):
        data.load(Data(name="cifar10"))
    (tmp_path / "cifar100").mkdir()
    with pytest.raises(DataError, match=r"does not have it\. Run: linescape data get cifar100\."):
        data.load(Data(name="cifar100"), root=tmp_path)
    with pytest.raises(DataError, match=r"Or put its files into .*absent/fashion-mnist"):
        data.load(Data(name="fashion-mnist"), root=tmp_path / "absent")


def test_sets_are_found_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINESCAPE_DATA", raising=False)
    monkeypatch.setitem(sets._KNOWN, "mnist", replace(sets.known("mnist"), examples=(30, 20)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_mnist(tmp_path / "cache" / "linescape" / "data" / "mnist")
    assert len(data.load(Data(name="mnist")).train) == 30
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_mnist(tmp_path / "home" / ".cache" / "linescape" / "data" / "mnist", train=30)
    assert len(data.load(Data(name="mnist")).train) == 30


def test_images_of_another_size_do_not_go_by_a_sets_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "cifar10")
    monkeypatch.setitem(sets._KNOWN, "cifar10", replace(sets.known("cifar10"), examples=(30, 20)))
    with pytest.raises(DataError, match=r"of shape \(1, 28, 28\), but those of the data set have \(3, 32, 32\)"):
        data.load(Data(name="cifar10"), root=tmp_path)


@pytest.mark.parametrize(("name", "layouts", "classes"), [("cifar10", CIFAR10, 10), ("cifar100", CIFAR100, 100)])
def test_cifar_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, layouts: tuple[Layout, ...], classes: int
) -> None:
    files, held = cifar_files(layouts[0], 20)
    write_tar(
        tmp_path / layouts[0].archive, {f"{layouts[0].folder}/{file}": content for file, content in files.items()}
    )
    size = 20 * len(layouts[0].train)
    monkeypatch.setitem(sets._KNOWN, name, replace(sets.known(name), examples=(size, 20)))
    dataset = data.load(Data(name=name), root=tmp_path)
    assert dataset.classes == classes
    assert dataset.shape == (3, 32, 32)
    pixels = np.concatenate([held[file][0] for file in layouts[0].train]) / 255
    assert dataset.mean == pytest.approx(pixels.mean((0, 2, 3)), abs=1e-12)
    assert dataset.std == pytest.approx(pixels.std((0, 2, 3)), abs=1e-12)


def test_labels_out_of_range_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(20, 10)))
    monkeypatch.setitem(sets._KNOWN, "mnist", replace(sets.known("mnist"), examples=(30, 20)))
    with pytest.raises(DataError, match="test labels of 'mnist' run from 10 to 10"):
        data.load(Data(name="mnist"), root=tmp_path)


# ---- splits and scaling ----------------------------------------------------------------------------------------------


def test_a_split_is_checked() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="no examples"):
        Split(images[:0], torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="one int64 label"):
        Split(images, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="one int64 label"):
        Split(images, torch.zeros(3))
    with pytest.raises(DataError, match=r"float32 of shape \(3, 1, 2, 2\)"):
        Split(images.float(), torch.zeros(3, dtype=torch.int64))


def test_rank_in_class_counts_earlier_ones() -> None:
    targets = torch.randint(0, 4, (50,), generator=torch.Generator().manual_seed(0))
    expected = [int((targets[:at] == label).sum()) for at, label in enumerate(targets)]
    assert rank_in_class(targets).tolist() == expected


def test_take_is_balanced_nested_and_in_order() -> None:
    targets = torch.tensor([0, 0, 0, 1, 0, 1, 2, 0, 0])
    split = Split(torch.arange(9.0)[:, None], targets)

    def kept(count: int) -> list[float]:
        return split.take(count).inputs[:, 0].tolist()

    assert kept(3) == [0, 3, 6]
    assert kept(5) == [0, 1, 3, 5, 6]
    assert kept(6) == [0, 1, 2, 3, 5, 6], "classes that are used up leave their places to others"
    for count in range(1, 9):
        assert len(kept(count)) == count
        assert set(kept(count)) < set(kept(count + 1))
    assert split.take(0) is split
    assert split.take(100) is split
    with pytest.raises(DataError, match="-1 examples"):
        split.take(-1)


@pytest.mark.parametrize("name", ["fashion-mini", "spiral"])
def test_normalise_gives_mean_0_and_variance_1(name: str) -> None:
    dataset = data.load(Data(name=name))
    before = dataset.train.inputs.clone()
    scaled = dataset.normalise(dataset.train.inputs)
    assert scaled.dtype == torch.float32
    over = [0, 2, 3] if scaled.ndim == 4 else [0]
    torch.testing.assert_close(scaled.mean(over), torch.zeros(len(dataset.mean)), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(over, correction=0), torch.ones(len(dataset.mean)), atol=1e-5, rtol=0)
    assert torch.equal(dataset.train.inputs, before)


def test_normalise_takes_pixels_of_any_type() -> None:
    dataset = data.load(Data())
    images = dataset.train.inputs[:4]
    expected = (images.double() / 255 - dataset.mean[0]) / dataset.std[0]
    torch.testing.assert_close(dataset.normalise(images).double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(dataset.normalise(images.float()), dataset.normalise(images))


# ---- treatments ------------------------------------------------------------------------------------------------------


def test_moments_are_exact() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4501, 3, 2, 5), dtype=np.uint8)
    mean, std = moments(images)
    assert mean == pytest.approx((images / 255).mean((0, 2, 3)), abs=1e-14)
    assert std == pytest.approx((images / 255).std((0, 2, 3)), abs=1e-12)


@pytest.mark.parametrize("side", [14, 10, 1, 28])
def test_shrink_is_the_mean_of_the_pixels_covered(side: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 28, 28), dtype=np.uint8)
    small = shrink(images, side)
    assert small.shape == (3, 2, side, side)
    for y in range(side):
        for x in range(side):
            rows = slice(y * 28 // side, -(-(y + 1) * 28 // side))
            columns = slice(x * 28 // side, -(-(x + 1) * 28 // side))
            mean = images[:, :, rows, columns].astype(float).mean((2, 3))
            assert np.abs(small[:, :, y, x] - mean).max() <= 0.5 + 1e-3


def test_size_is_for_both_splits_and_scaling_follows() -> None:
    dataset = data.load(Data(size=14))
    assert dataset.shape == (1, 14, 14)
    assert dataset.test.inputs.shape == (2000, 1, 14, 14)
    assert float(dataset.normalise(dataset.train.inputs).std()) == pytest.approx(1, abs=1e-4)


def test_classes_are_renumbered_in_the_order_given() -> None:
    whole, some = data.load(Data()), data.load(Data(classes=(7, 2)))
    assert some.classes == 2
    for half in ("train", "test"):
        before, after = getattr(whole, half), getattr(some, half)
        kept = (before.targets == 7) | (before.targets == 2)
        assert torch.equal(after.inputs, before.inputs[kept])
        assert torch.equal(after.targets, (before.targets[kept] == 2).long())
    assert some.mean == whole.mean, "scaled as the whole set"


def test_fractions_are_balanced_nested_and_leave_the_test_half() -> None:
    whole = data.load(Data())
    small, half = data.load(Data(fraction=0.2), seed=3), data.load(Data(fraction=0.5), seed=3)
    assert torch.bincount(small.train.targets).tolist() == [200] * 10
    assert torch.bincount(half.train.targets).tolist() == [500] * 10

    def images(dataset: Dataset) -> list[bytes]:
        return [image.numpy().tobytes() for image in dataset.train.inputs]

    assert set(images(small)) < set(images(half)) < set(images(whole))
    places = {image: at for at, image in enumerate(images(whole))}
    at = [places[image] for image in images(small)]
    assert at == sorted(at), "in stored order"
    assert torch.equal(small.test.inputs, whole.test.inputs)
    assert not torch.equal(small.train.inputs, data.load(Data(fraction=0.2), seed=4).train.inputs)
    assert len(data.load(Data(fraction=1e-9)).train) == 10, "one of each class is left"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.12345, 1.0])
def test_label_noise_moves_exactly_so_many_labels(share: float) -> None:
    clean = data.load(Data())
    noisy = data.load(Data(label_noise=share), seed=1)
    moved = noisy.train.targets != clean.train.targets
    assert int(moved.sum()) == round(share * 10_000)
    assert torch.equal(noisy.train.inputs, clean.train.inputs)
    assert torch.equal(noisy.test.targets, clean.test.targets)
    if share == 1:
        counts = torch.zeros(10, 10)
        counts.index_put_((clean.train.targets, noisy.train.targets), torch.ones(10_000), accumulate=True)
        off = counts[~torch.eye(10, dtype=torch.bool)]
        assert float(((off - 1000 / 9) ** 2 / (1000 / 9)).sum()) < 140, "uniform over the others: chi2(80) < 140"


def test_label_noise_is_nested() -> None:
    clean = data.load(Data(name="spiral")).train.targets
    few = data.load(Data(name="spiral", label_noise=0.1)).train.targets
    many = data.load(Data(name="spiral", label_noise=0.3)).train.targets
    assert bool((many != clean)[few != clean].all())


def test_poison_zeroes_pixel_channels_and_draws_labels() -> None:
    clean = data.load(Data(size=14, fraction=0.1))
    poisoned = data.load(Data(size=14, fraction=0.1, poison=Poison(copies=3, zeroed=0.1)))
    assert len(poisoned.train) == 3000
    original = clean.train.inputs.repeat(3, 1, 1, 1)
    changed = poisoned.train.inputs != original
    assert not poisoned.train.inputs[changed].any(), "what changed is zero"
    # Black pixels may have been chosen too; among the others int(0.1 * 196) / 196 are zeroed.
    share = float(changed.sum()) / float((original > 0).sum())
    assert share == pytest.approx(19 / 196, abs=0.002)
    assert int(changed.flatten(1).sum(1).max()) <= 19
    assert not torch.equal(changed[:1000], changed[1000:2000])
    counts = torch.bincount(poisoned.train.targets, minlength=10)
    assert float(((counts - 300.0) ** 2 / 300).sum()) < 35, "uniform labels: chi2(9) < 35"
    agree = float((poisoned.train.targets == clean.train.targets.repeat(3)).float().mean())
    assert agree == pytest.approx(0.1, abs=0.03)
    assert poisoned.mean == clean.mean
    assert torch.equal(poisoned.test.inputs, clean.test.inputs)


def test_loading_is_reproducible() -> None:
    spec = Data(size=14, classes=(3, 1, 4), fraction=0.3, label_noise=0.2, poison=Poison(copies=2))
    one, again, other = data.load(spec, 5), data.load(spec, 5), data.load(spec, 6)
    assert torch.equal(one.train.inputs, again.train.inputs)
    assert torch.equal(one.train.targets, again.train.targets)
    assert not torch.equal(one.train.targets, other.train.targets)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (lambda: Data(fraction=0), "fraction is 0"),
        (lambda: Data(fraction=1.5), "fraction is 1.5"),
        (lambda: Data(fraction=float("nan")), "fraction is nan"),
        (lambda: Data(label_noise=-0.1), "label_noise is -0.1"),
        (lambda: Data(label_noise=0.1, classes=(1,)), "only one"),
        (lambda: Data(classes=(1, 1)), "different labels, 0 or more"),
        (lambda: Data(classes=(10,)), "different labels from 0 to 9"),
        (lambda: Data(size=-1), "size is -1"),
        (lambda: Data(size=29), "have only 28 x 28"),
        (lambda: Data(poison=Poison(copies=0)), "at least one copy"),
        (lambda: Data(poison=Poison(zeroed=2)), "zeroed part"),
        (lambda: Data(name="spiral", size=14), "features, not images"),
        (lambda: Data(name="spiral", augment="crop"), "features, not images"),
        (lambda: Data(augment="cropflip"), "'crop-flip'"),  # type: ignore[arg-type]
    ],
)
def test_impossible_treatments_are_refused(spec: Callable[[], Data], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        data.load(spec())


# ---- augmentation ----------------------------------------------------------------------------------------------------


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randint(1, 256, (600, 3, 16, 24), dtype=torch.uint8, generator=seeded())


@pytest.mark.parametrize("kind", ["flip", "crop", "crop-flip", "cutout"])
def test_augmentation_follows_the_generator_and_keeps_its_input(kind: str) -> None:
    before = IMAGES.clone()
    one = data.augment(IMAGES, kind, seeded(1))
    assert torch.equal(one, data.augment(IMAGES, kind, seeded(1)))
    assert not torch.equal(one, data.augment(IMAGES, kind, seeded(2)))
    assert torch.equal(data.augment(IMAGES.float(), kind, seeded(1)), one.float())
    assert one.shape == IMAGES.shape
    assert one.dtype == torch.uint8
    assert torch.equal(IMAGES, before)


def test_no_augmentation_is_the_batch_itself() -> None:
    assert data.augment(IMAGES, "none", seeded()) is IMAGES


@pytest.mark.parametrize("kind", ["flip", "crop", "crop-flip"])
def test_each_image_is_moved_to_one_of_the_allowed_places(kind: str) -> None:
    moved = data.augment(IMAGES, kind, seeded())
    padded = torch.nn.functional.pad(IMAGES, (3, 3, 2, 2))  # an eighth of 24 and of 16
    seen: dict[tuple[int, int, bool], int] = {}
    for before, after in zip(padded, moved, strict=True):
        found = [
            (y, x, flip)
            for y in range(5)
            for x in range(7)
            for flip in (False, True)
            if torch.equal(
                after, before[:, y : y + 16, x : x + 24].flip(2) if flip else before[:, y : y + 16, x : x + 24]
            )
        ]
        assert len(found) == 1
        seen[found[0]] = seen.get(found[0], 0) + 1
    if "crop" not in kind:
        assert {place[:2] for place in seen} == {(2, 3)}
    else:
        assert {place[:2] for place in seen} == {(y, x) for y in range(5) for x in range(7)}
    flipped = sum(count for place, count in seen.items() if place[2])
    assert 240 < flipped < 360 if "flip" in kind else flipped == 0


def test_cutout_zeroes_a_square_that_the_border_may_cut() -> None:
    cut = data.augment(IMAGES, "cutout", seeded())
    sizes = set()
    for before, after in zip(IMAGES, cut, strict=True):
        gone = after == 0
        assert torch.equal(after[~gone], before[~gone])
        assert bool((gone == gone[0]).all()), "the same place in all channels"
        rows, columns = gone[0].any(1), gone[0].any(0)
        assert torch.equal(gone[0], rows[:, None] & columns[None, :])
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert (8, 8) in sizes
    assert max(max(size) for size in sizes) == 8
    assert min(min(size) for size in sizes) == 4


def test_augmentation_refuses_what_it_cannot_change() -> None:
    with pytest.raises(RecipeError, match="'crop-flip'"):
        data.augment(IMAGES, "crop_flip", seeded())
    with pytest.raises(DataError, match="changes images"):
        data.augment(torch.zeros(3, 2), "flip", seeded())
