from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from linescape.data.archives import files as archive_files
from linescape.data.archives.cifar import CIFAR10, CIFAR100, read_cifar
from linescape.data.archives.folders import find_images
from linescape.data.archives.forms import find
from linescape.data.archives.idx import read_idx
from linescape.data.archives.npz import read_npz
from linescape.data.archives.parquet import Table, read_parquet
from linescape.errors import DataError
from tests.support.sets_on_disk import cifar_files, no_large_allocation, write_tar


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize(
    "read",
    [
        read_idx,
        read_npz,
        archive_files.content,
        lambda path: read_cifar(path, CIFAR10[0]),
        lambda path: read_parquet([path], [path]),
        lambda path: Table.scan([path]),
    ],
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no plain file but a pipe"):
        read(tmp_path / "pipe")


def test_a_folder_that_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    for look in (find_images, lambda path: find(path, CIFAR10)):
        with pytest.raises(DataError, match="File name too long|is no folder"):
            look(tmp_path / ("n" * 300))
