"""Bringing published sets: from a server on this machine, and from copies."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from linescape import atomic, cli, data
from linescape.data import sets
from linescape.data.archives.cifar import CIFAR10
from linescape.data.archives.forms import find
from linescape.data.fetch import download, get
from linescape.data.sources import SOURCES
from linescape.errors import DataError, RecipeError, StoreError
from linescape.recipe import Data
from tests.support.sets_on_disk import cifar_files, idx, png, write_files, write_mnist, write_tar


@dataclass
class Site:
    """A server of files on this machine, and how it behaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    stop_after: int | None = None
    pause: threading.Event | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    there = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, wanted = self.path[1:], self.headers.get("Range")
            there.asked.append((name, wanted))
            if name not in there.files:
                return self.send_error(404)
            content = there.files[name]
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and there.ranges else 0
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: there.stop_after])
            if there.pause:
                there.pause.wait(10)
            return None

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    there.url = f"http://127.0.0.1:{server.server_port}/"
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets are the small ones that the tests write."""
    for name, sizes in (("mnist", (30, 20)), ("fashion-mnist", (30, 20)), ("cifar10", (100, 20))):
        monkeypatch.setitem(sets._KNOWN, name, replace(sets.known(name), examples=sizes))
        monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(mean=(0.5,) * len(SOURCES[name].mean)))
    monkeypatch.setattr("linescape.data.fetch._NEAR", 0.05)  # these are noise


def checksum(content: bytes, kind: str = "md5") -> str:
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def idx_files(folder: Path, end: str = "") -> dict[str, bytes]:
    write_mnist(folder, end=end)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ---- one file from an address ----------------------------------------------------------------------------------------


CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_comes_whole_and_is_checked(site: Site, tmp_path: Path, kind: str) -> None:
    site.files["a.bin"] = CONTENT
    for _ in range(2):
        download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT, kind))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert site.asked == [("a.bin", None)], "the second time nothing is asked for"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_was(site: Site, tmp_path: Path, ranges: bool) -> None:
    site.files["a.bin"], site.stop_after, site.ranges = CONTENT, 100_000, ranges
    with pytest.raises(DataError, match=r"ended after 100,000 of 300,000 bytes.*100,000 bytes that came are kept"):
        download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:100_000]
    site.stop_after = None
    download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert site.asked[1:] == [("a.bin", "bytes=100000-")]
    assert not (tmp_path / "a.bin.part").exists()


def test_a_download_that_was_killed_after_its_last_byte_is_taken(site: Site, tmp_path: Path) -> None:
    site.files["a.bin"] = CONTENT
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("before", [b"", CONTENT[:1000][::-1], CONTENT + b"more"])
def test_other_bytes_than_published_are_not_kept(site: Site, tmp_path: Path, before: bytes) -> None:
    site.files["a.bin"] = CONTENT if before else CONTENT[:-1] + b"x"
    if before:
        (tmp_path / "a.bin.part").write_bytes(before)
    with pytest.raises(DataError, match="does not have the checksum md5:.*It was deleted; try again"):
        download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))
    assert list(tmp_path.iterdir()) == []
    site.files["a.bin"] = CONTENT
    download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))


def test_a_server_that_is_not_there_is_said(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent could not be downloaded \(404.*Not Found"):
        download(site.url + "absent", tmp_path / "a", checksum(b""))
    with pytest.raises(DataError, match=r"refused.*Is there a network\?$"):
        download("http://127.0.0.1:9/a", tmp_path / "a", checksum(b""))


def test_a_server_that_falls_silent_is_not_waited_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linescape.data.fetch._TIMEOUT", 0.1)
    site.files["a.bin"], site.stop_after, site.pause = CONTENT, 65_536, threading.Event()
    with pytest.raises(DataError, match=r"timed out.*65,536 bytes that came are kept"):
        download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))
    site.pause.set()


def test_a_server_does_not_fill_the_disk(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linescape.data.fetch.MOST", 1000)
    site.files["a.bin"] = CONTENT
    with pytest.raises(DataError, match="gives more than 1,000 bytes"):
        download(site.url + "a.bin", tmp_path / "a.bin", checksum(CONTENT))


# ---- from the authors ------------------------------------------------------------------------------------------------


@pytest.fixture
def official(site: Site, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site.files = idx_files(tmp_path / "published", ".gz")
    files = {name: checksum(content) for name, content in site.files.items()}
    monkeypatch.setitem(SOURCES, "mnist", SOURCES["mnist"]._replace(url=site.url, files=files))
    return site


def test_a_set_from_its_authors_is_brought_once(official: Site, tmp_path: Path) -> None:
    root = tmp_path / "root"
    found = get("mnist", root=root)
    assert (found.path, found.new, found.examples, found.shape) == (root / "mnist", True, (30, 20), (1, 28, 28))
    assert sorted(path.name for path in (root / "mnist").iterdir()) == sorted(official.files)
    assert sorted(path.name for path in root.iterdir()) == [".mnist.lock", "mnist"]
    dataset = data.load(Data("mnist"), root=root)
    assert found.mean == dataset.mean
    assert found.std == dataset.std
    again = get("mnist", root=root)
    assert replace(again, new=True) == found
    assert len(official.asked) == 4
    assert "30 training and 20 test images of 1 x 28 x 28" in str(again)
    assert "was already in" in str(again)


def test_a_set_that_broke_off_goes_on_and_is_not_seen_before(official: Site, tmp_path: Path) -> None:
    official.stop_after = 5000
    with pytest.raises(DataError, match=r"5,000 bytes that came are kept"):
        get("mnist", root=tmp_path)
    assert sets.locate("mnist", tmp_path) is None
    with pytest.raises(DataError, match="linescape data get mnist"):
        sets.read("mnist", tmp_path)
    official.stop_after = None
    assert get("mnist", root=tmp_path).new
    assert [wanted for _, wanted in official.asked] == [None, "bytes=5000-", None, None, None]


def test_without_a_network_nothing_is_left_but_the_lock(official: Site, tmp_path: Path) -> None:
    official.files = {}
    with pytest.raises(DataError, match=r"ubyte\.gz could not be downloaded.*Is there a network"):
        get("mnist", root=tmp_path / "root")
    assert not (tmp_path / "root" / "mnist").exists()


def test_two_processes_do_not_bring_one_set(official: Site, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".mnist.lock"), pytest.raises(DataError, match="Another process is writing 'mnist'"):
        get("mnist", root=tmp_path)


# ---- from a copy -----------------------------------------------------------------------------------------------------


def as_batches(place: Path) -> Path:
    place.mkdir()
    for name, content in cifar_files(CIFAR10[0], 20)[0].items():
        (place / name).write_bytes(content)
    return place


def as_archive(place: Path) -> Path:
    files = cifar_files(CIFAR10[0], 20)[0]
    return write_tar(place.with_suffix(".tar.gz"), {f"cifar-10-batches-py/{name}": files[name] for name in files})


def as_folders(place: Path) -> Path:
    random = np.random.default_rng(0)
    for half, count in (("train", 10), ("test", 2)):
        for label in range(10):
            images = random.integers(0, 256, (count, 3, 32, 32), np.uint8)
            write_files(place / half / f"class {label}", {f"{at}.png": png(image) for at, image in enumerate(images)})
    (place / "notes.txt").write_text("not of the set")
    return place


def in_folder_of_sets(place: Path) -> Path:
    place.mkdir()
    as_batches(place / "cifar-10-batches-py")
    write_mnist(place / "MNIST" / "raw")
    return place


@pytest.mark.parametrize("write", [as_batches, as_archive, as_folders, in_folder_of_sets])
def test_a_copy_is_checked_and_copied(small: None, tmp_path: Path, write: Any) -> None:
    mine = write(tmp_path / "mine")
    before = sorted((path, path.stat().st_mtime_ns) for path in [mine, *mine.rglob("*")])
    found = get("cifar10", mine, root=tmp_path / "root")
    assert found.new
    assert found.path == tmp_path / "root" / "cifar10"
    assert sorted((path, path.stat().st_mtime_ns) for path in [mine, *mine.rglob("*")]) == before
    own, copied = find(mine, CIFAR10) or sets.locate("cifar10", mine), sets.read("cifar10", tmp_path / "root")
    assert own is not None
    for got, original in zip(copied, own.read(), strict=True):
        np.testing.assert_array_equal(got[0], original[0])
        np.testing.assert_array_equal(got[1], original[1])
    assert not (tmp_path / "root" / "cifar10" / "notes.txt").exists()


def test_a_copy_among_other_sets_is_found(small: None, tmp_path: Path) -> None:
    found = get("mnist", in_folder_of_sets(tmp_path / "mine"), root=tmp_path / "root")
    assert len(list(found.path.iterdir())) == 4


def test_a_copy_that_is_not_the_set_is_refused(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, root = as_batches(tmp_path / "mine"), tmp_path / "root"
    with pytest.raises(DataError, match="There is no file or folder mien. Name a copy of 'cifar10'"):
        get("cifar10", Path("mien"), root=root)
    with pytest.raises(DataError, match="holds no data set in a known form. Known are IDX files"):
        get("mnist", mine, root=root)
    write_mnist(tmp_path / "other")
    with pytest.raises(DataError, match="hold 30 training and 20 test examples, but the data set has 100 and 20"):
        get("cifar10", tmp_path / "other", root=root)
    (mine / "data_batch_2").unlink()
    with pytest.raises(DataError, match=r"mine has no data_batch_2"):
        get("cifar10", mine, root=root)
    as_archive(tmp_path / "packed")
    monkeypatch.setitem(SOURCES, "cifar10", SOURCES["cifar10"]._replace(mean=(0.5, 0.5, 0.3)))
    with pytest.raises(DataError, match=r"channel means .* those of 'cifar10' are 0\.5000 0\.5000 0\.3000"):
        get("cifar10", tmp_path / "packed.tar.gz", root=root)
    write_mnist(tmp_path / "fewer")
    (tmp_path / "fewer" / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(20) % 9))
    with pytest.raises(DataError, match="are not 0 to 9 in both splits"):
        get("mnist", tmp_path / "fewer", root=root)
    assert all(path.suffix == ".lock" for path in root.iterdir())


# ---- what is there already -------------------------------------------------------------------------------------------


def test_a_damaged_set_is_not_touched(official: Site, tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match=r"has no t10k-images.*first move or delete .*mnist\."):
        get("mnist", root=tmp_path)
    assert len(list((tmp_path / "mnist").iterdir())) == 3
    assert not official.asked


def test_a_folder_of_something_else_is_left_alone(official: Site, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    get("mnist", root=tmp_path)  # an empty folder is no obstacle
    shutil.rmtree(tmp_path / "mnist")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "thesis.tex").write_text("dear")
    with pytest.raises(DataError, match="holds no data set in a known form. Move or delete it"):
        get("mnist", root=tmp_path)
    assert (tmp_path / "mnist" / "thesis.tex").read_text() == "dear"


def test_sets_of_other_programs_are_used_where_they_are(small: None, tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw")
    found = get("mnist", root=tmp_path)
    assert (found.new, found.path) == (False, tmp_path / "MNIST" / "raw")
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"], "nothing is written where a set is whole"


def test_what_there_is_nothing_to_get_of(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'spiral' comes with the package"):
        get("spiral", root=tmp_path)
    with pytest.raises(RecipeError, match="Did you mean 'cifar10'"):
        get("cifar-10", root=tmp_path)


def test_a_place_that_cannot_be_written_ends_in_one_message(official: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="a part of its path is a file"):
        get("mnist", root=tmp_path / "file" / "root")


def test_a_full_disk_is_not_taken_for_a_network(
    official: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("linescape.data.fetch.os.fsync", full)
    with pytest.raises(StoreError, match="the disk is full"):
        get("mnist", root=tmp_path)
    assert atomic.SUFFIX not in "".join(path.name for path in tmp_path.iterdir())


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_what_it_got(
    official: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["linescape", "data", *words])
        cli.main()
        return capsys.readouterr().out

    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("COLUMNS", "300")
    assert "its authors  not downloaded" in line("list")
    out = line("get", "mnist")
    assert out.startswith(
        f"mnist is now in {tmp_path / 'root' / 'mnist'}\n30 training and 20 test images of 1 x 28 x 28"
    )
    assert "channel means 0.49" in out
    assert line("get", "mnist").startswith("mnist was already in")
    assert str(tmp_path / "root" / "mnist") in line("list")


def test_nothing_is_fetched_without_being_asked() -> None:
    code = "import sys, linescape, linescape.data, linescape.studies.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"linescape.data.fetch", "pooch", "requests"} & set(loaded)


def test_every_source_has_checksums_and_every_set_means() -> None:
    assert set(SOURCES) == {name for name in data.names() if sets.known(name).make is None}
    for name, source in SOURCES.items():
        assert source.files
        assert all(len(value) == {"md5": 36, "sha256": 71}[value.partition(":")[0]] for value in source.files.values())
        assert len(source.mean) == sets.known(name).shape[0]
