"""The readers of forms that others publish sets in: each on small files of that form, and on bad ones."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from linescape.data.archives.cifar import CIFAR10, CIFAR100, read_cifar
from linescape.data.archives.folders import read_folders
from linescape.data.archives.forms import find
from linescape.data.archives.npz import read_npz
from linescape.data.archives.parquet import read_parquet
from linescape.data.archives.pictures import decode, decode_all
from linescape.errors import DataError
from tests.support.sets_on_disk import (
    cifar_files,
    no_large_allocation,
    png,
    write_files,
    write_mnist,
    write_tar,
)

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)
GREY = RANDOM.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)


def announces(width: int, height: int) -> bytes:
    """A PNG file whose header says so, with next to nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


# ---- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [COLOUR, GREY])
def test_pictures_round_trip(images: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_all((png(image), "a picture") for image in images), images)


def test_jpeg_is_read_nearly_as_it_was() -> None:
    smooth = np.broadcast_to(np.arange(0, 240, 15, dtype=np.uint8), (16, 16))
    assert np.abs(decode(png(smooth, "JPEG"), "a picture").astype(int) - smooth).max() < 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no readable PNG or JPEG"),
        (b"GIF89a" + bytes(50), "no readable PNG or JPEG"),
        (png(COLOUR[0], "BMP"), "no readable PNG or JPEG"),
        (png(COLOUR[0])[:-30], "no readable PNG or JPEG"),
        (png(COLOUR[0])[:20], "no readable PNG or JPEG"),
        (announces(5000, 5000), "announces 5000 x 5000 pixels"),
        (announces(10_000, 10_000), "unpacks to a huge picture"),  # where Pillow warns
        (announces(2**31 - 1, 2**31 - 1), "unpacks to a huge picture"),  # where Pillow refuses
        (announces(0, 0), "no readable PNG or JPEG"),
        (png(np.zeros((4, 4), bool)), "mode '1'"),
        (png(np.zeros((4, 4), np.uint16)), "mode 'I"),  # I in Pillow 10, I;16 since
        (png(np.zeros((4, 4, 4), np.uint8)), "mode 'RGBA'"),
    ],
)
def test_bad_pictures_are_refused_without_taking_memory(content: bytes, said: str) -> None:
    with no_large_allocation(), warnings.catch_warnings():
        warnings.simplefilter("default")  # as for a user, for whom a warning is no error
        with pytest.raises(DataError, match=said):
            decode(content, "a picture")


def test_grey_pictures_among_coloured_ones_get_colours() -> None:
    both = decode_all([(png(GREY[0]), "first"), (png(COLOUR[0]), "second")])
    np.testing.assert_array_equal(both, np.stack([np.repeat(GREY[0], 3, axis=0), COLOUR[0]]))


def test_pictures_are_of_one_size_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"second has 7 x 8 pixels and the first image has 8 x 8"):
        decode_all([(png(COLOUR[0]), "first"), (png(COLOUR[0][:, :, 1:]), "second")])
    monkeypatch.setattr("linescape.data.archives.pictures.MOST", 500)
    with pytest.raises(DataError, match="more than 500 bytes"):
        decode_all((png(image), "a picture") for image in COLOUR)


# ---- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["test", "val"])
def test_folders_round_trip(tmp_path: Path, test: str) -> None:
    write_folders(tmp_path, test=test)
    (tmp_path / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / ".cache").mkdir()
    (train, labels), (other, other_labels) = read_folders(tmp_path)
    np.testing.assert_array_equal(train, COLOUR)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1], "cat before dog"
    np.testing.assert_array_equal(other, COLOUR[::3])
    assert other_labels.tolist() == [0, 1]


def write_folders(place: Path, test: str = "test", classes: tuple[str, str] = ("cat", "dog")) -> None:
    for number, name in enumerate(classes):
        files = {f"{at}.png": png(COLOUR[3 * number + at]) for at in range(3)}
        write_files(place / "train" / name, files)
        write_files(place / test / name, {"0.png": files["0.png"]})


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    write_folders(tmp_path, classes=("9", "10"))
    (train, labels), _ = read_folders(tmp_path)
    np.testing.assert_array_equal(train, COLOUR)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train/ and test/"):
        read_folders(tmp_path)
    write_folders(tmp_path)
    (tmp_path / "test" / "bird").mkdir()
    with pytest.raises(DataError, match=r"the same classes \(bird\)"):
        read_folders(tmp_path)
    (tmp_path / "test" / "bird").rmdir()
    (tmp_path / "train" / "dog" / "0.png").write_bytes(png(np.zeros((9, 8, 3), np.uint8)))
    with pytest.raises(DataError, match=r"images of one size"):
        read_folders(tmp_path)
    (tmp_path / "train" / "dog" / "0.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"0\.png is no readable PNG"):
        read_folders(tmp_path)


# ---- npz -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("images", [COLOUR, GREY])
@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_round_trip(tmp_path: Path, save: Callable[..., None], images: Any, column: bool, order: Any) -> None:
    labels = np.arange(len(images), dtype=np.uint8)
    stored = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    half = (np.asarray(stored, order=order), labels[:, None] if column else labels)
    save(tmp_path / "a.npz", x_train=half[0], y_train=half[1], x_test=half[0][:2], y_test=half[1][:2])
    (train, train_labels), (test, test_labels) = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(train, images)
    np.testing.assert_array_equal(test, images[:2])
    assert (train_labels.tolist(), test_labels.tolist()) == ([0, 1, 2, 3, 4, 5], [0, 1])
    assert train_labels.dtype == np.int64


PIXELS = GREY[:, 0]
LABELS = np.arange(6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y_test": None}, "has no array 'y_test'"),
        ({"x_train": PIXELS.astype(np.float32)}, "announces"),
        ({"x_train": PIXELS.astype(np.int64)}, "not .n, height, width"),
        ({"x_train": PIXELS[0]}, "not .n, height, width"),
        ({"x_train": COLOUR}, "not .n, height, width"),
        ({"y_train": LABELS[:5]}, "labels of shape .5,. for 6 images"),
        ({"y_train": np.eye(6, dtype=np.uint8)}, "labels of shape .6, 6. for 6 images"),
        ({"y_train": LABELS / 2}, "announces"),
        ({"y_train": np.array([print, 1, 2, 3, 4, 5])}, "announces"),
        ({"y_train": np.array(list("abcdef"))}, "announces"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    held = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS, **change}
    arrays: Any = {name: array for name, array in held.items() if array is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said):
        read_npz(tmp_path / "a.npz")


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        npy(PIXELS)[:-1],
        npy(PIXELS) + b"x",
        npy(PIXELS)[:9],
        npy(PIXELS).replace(b"(6, 8, 8), }       ", b"(600000, 800, 8), }"),
        npy(PIXELS).replace(b"(6, 8, 8), }  ", b"(-6, -8, 8), }"),
        npy(PIXELS).replace(b"False", b"exit()"[:5]),
        b"\x93NUMPY\x09\x09" + npy(PIXELS)[8:],
        b"PK\x03\x04" + bytes(100),
    ],
)
def test_damaged_arrays_are_refused_without_taking_memory(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x_train.npy", content)
        for name in ("y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", npy(LABELS))
    with no_large_allocation(), pytest.raises(DataError, match=r"download it again|Download it again"):
        read_npz(tmp_path / "a.npz")


def test_damaged_npz_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="again"):
            read_npz(path)
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(DataError, match="again"):
        read_npz(path)
    monkeypatch.setattr("linescape.data.archives.npz.MOST", 1_000_000)
    np.savez_compressed(path, x_train=np.zeros((50, 1000, 1000), np.uint8))
    with no_large_allocation():
        assert path.stat().st_size < 100_000
        with pytest.raises(DataError, match="no array 'y_train'|unpacks to more"):
            read_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x_train.npy", npy(PIXELS))
    with pytest.raises(DataError, match="packed as numpy does not"):
        read_npz(path)


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def write_table(path: Path, images: Any, labels: Any, image: str = "image", label: str = "label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = [{"bytes": png(pixels), "path": "/etc/passwd"} for pixels in images]
    pl.DataFrame({image: held, label: labels}).write_parquet(path)
    return path


@pytest.mark.parametrize(("image", "label"), [("image", "label"), ("img", "label"), ("img", "fine_label")])
def test_parquet_round_trip(tmp_path: Path, image: str, label: str) -> None:
    train = [
        write_table(tmp_path / f"train-{at}.parquet", COLOUR[3 * at :][:3], [at, 5, 7], image, label) for at in (0, 1)
    ]
    test = write_table(tmp_path / "test-0.parquet", COLOUR[:2], [8, 9], image, label)
    (pixels, labels), (other, other_labels) = read_parquet(train, [test])
    np.testing.assert_array_equal(pixels, COLOUR)
    assert labels.tolist() == [0, 5, 7, 1, 5, 7]
    np.testing.assert_array_equal(other, COLOUR[:2])
    assert other_labels.tolist() == [8, 9]


def test_fine_labels_come_before_coarse_ones(tmp_path: Path) -> None:
    held = [{"bytes": png(GREY[0]), "path": None}]
    table = pl.DataFrame({"img": held, "coarse_label": [1], "label": [2], "fine_label": [3]})
    table.write_parquet(tmp_path / "train-0.parquet")
    (_, labels), _ = read_parquet([tmp_path / "train-0.parquet"], [tmp_path / "train-0.parquet"])
    assert labels.tolist() == [3]


IN_ROW = {"bytes": png(GREY[0]), "path": None}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": [IN_ROW]}, "has the columns image, not"),
        ({"label": [1], "text": ["a"]}, "has the columns label, text, not"),
        ({"image": [png(GREY[0])], "label": [1]}, "no bytes in 'image'"),
        ({"image": [{"path": "a.png"}], "label": [1]}, "no bytes in 'image'"),
        ({"image": [{"bytes": "a.png"}], "label": [1]}, "no bytes in 'image'"),
        ({"image": [IN_ROW], "label": ["cat"]}, "no whole numbers in 'label'"),
        ({"image": [IN_ROW], "label": [1.5]}, "no whole numbers in 'label'"),
        ({"image": [IN_ROW, IN_ROW], "label": [1, None]}, "without an image or a label"),
        ({"image": [IN_ROW, {"bytes": None, "path": "a.png"}], "label": [1, 1]}, "without an image or a label"),
        ({"image": [IN_ROW, None], "label": [1, 1]}, "without an image or a label"),
        ({"image": [{"bytes": b"<html>", "path": None}], "label": [1]}, "image 0 of .* is no readable PNG"),
        ({"image": [{"bytes": announces(9000, 9000), "path": None}], "label": [1]}, "announces 9000 x 9000"),
        ({"image": [IN_ROW], "label": pl.Series([2**64 - 1], dtype=pl.UInt64)}, "no readable Parquet"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "train-0.parquet")
    with pytest.raises(DataError, match=said):
        read_parquet([tmp_path / "train-0.parquet"], [tmp_path / "train-0.parquet"])


def test_damaged_tables_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "train-0.parquet", COLOUR, range(6))
    whole = path.read_bytes()
    for cut in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="again"):
            read_parquet([path], [path])
    for at in range(4, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        with suppress(DataError):  # a changed byte may also be one that nobody reads
            read_parquet([path], [path])
    path.write_bytes(whole)
    with pytest.raises(DataError, match="does not have train"):
        read_parquet([path], [])
    monkeypatch.setattr("linescape.data.archives.parquet._MOST_ROWS", 5)
    with pytest.raises(DataError, match="announces 6 rows"):
        read_parquet([path], [path])
    monkeypatch.setattr("linescape.data.archives.parquet.MOST", 100)
    with pytest.raises(DataError, match="larger than 100 bytes"):
        read_parquet([path], [path])


# ---- telling the form ------------------------------------------------------------------------------------------------


def cifar_folder(place: Path) -> None:
    write_files(place, cifar_files(CIFAR10[1])[0])


def packed_cifar(place: Path) -> None:
    place.mkdir()
    held = {f"cifar-10-batches-py/{name}": held for name, held in cifar_files(CIFAR10[0])[0].items()}
    write_tar(place / "from the web.tgz", {"cifar-10-batches-py/readme.html": b"x", **held})


def in_folders(place: Path) -> None:
    write_folders(place)
    (place / "train" / "notes.txt").write_text("mine")


def in_npz(place: Path) -> None:
    place.mkdir()
    np.savez(place / "mnist.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS, y_test=LABELS)


def in_tables(place: Path) -> None:
    for half in ("train", "test"):
        write_table(place / f"{half}-00000-of-00001.parquet", GREY, LABELS)


@pytest.mark.parametrize("inside", ["", "more"])
@pytest.mark.parametrize(
    ("write", "sizes", "files"),
    [
        (cifar_folder, (20, 4), 6),
        (lambda place: cifar_folder(place / "cifar-10-batches-bin"), (20, 4), 6),
        (packed_cifar, (20, 4), 1),
        (write_mnist, (30, 20), 4),
        (lambda place: write_mnist(place / "raw", end=".gz"), (30, 20), 4),
        (in_folders, (6, 2), 8),
        (in_npz, (6, 6), 1),
        (in_tables, (6, 6), 2),
        (lambda place: in_tables(place / "plain_text"), (6, 6), 2),
    ],
)
def test_every_form_is_told_by_its_files(
    tmp_path: Path, write: Callable[[Path], None], sizes: tuple[int, int], files: int, inside: str
) -> None:
    place = tmp_path / "set"
    write(place)
    if inside:
        (place / "licence.txt").write_text("mine")
    found = find(place, CIFAR10)
    assert found is not None
    assert tuple(len(half[1]) for half in found.read()) == sizes
    listed = list(found.files())
    assert len(listed) == files
    assert all(file.is_file() and file.is_relative_to(found.path) for file in listed)


def test_what_is_no_set_is_not_taken_for_one(tmp_path: Path) -> None:
    assert find(tmp_path / "absent", CIFAR10) is None
    assert find(tmp_path, CIFAR10) is None
    (tmp_path / "train").mkdir()
    (tmp_path / "a.txt").write_text("a")
    write_tar(tmp_path / "a.tgz", {"package/index.js": b"x"})
    assert find(tmp_path, CIFAR10) is None
    assert find(tmp_path / "a.txt", CIFAR10) is None
    cifar_folder(tmp_path / "ten")
    assert find(tmp_path / "ten", CIFAR100) is None
    in_tables(tmp_path / "one")
    in_tables(tmp_path / "two")
    assert find(tmp_path, ()) is None, "two sets of tables: which is meant is not said"
    (tmp_path / "b.tgz").write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(DataError, match=r"b\.tgz is damaged"):
        find(tmp_path, CIFAR10)


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linescape.data.archives.files.MOST", 100)
    with pytest.raises(DataError, match="larger than 100 bytes"):
        read_cifar(write_files(tmp_path, cifar_files(CIFAR10[1])[0]), CIFAR10[1])
