from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
import pytest

from linescape.errors import DamagedError, StoreError
from linescape.studies.inventory import check
from linescape.studies.places import opened
from linescape.studies.places.local import LocalFolder
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Train
from tests.support.small_study import FLAT, study, whole
from tests.support.stored import LINE, PLAIN, TASK, fill


def test_names_and_signatures(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path / "new")
    assert place.names() == place.names("no/folder") == []
    assert place.signatures(deep=True) == {}
    signature = place.write("a/b.json", b"12")
    place.write("a/c/d.json", b"345", durable=False)
    assert place.names("a") == ["b.json", "c"]
    assert place.signatures("a") == {"b.json": signature}
    assert {name: size for name, (size, *_) in place.signatures(deep=True).items()} == {"a/b.json": 2, "a/c/d.json": 3}
    place.delete("a/b.json", "a/none.json")
    assert place.names("a") == ["c"]
    assert place.read("a/c/d.json") == b"345"
    with pytest.raises(FileNotFoundError):
        place.read("a/b.json")


def test_every_write_has_a_signature_of_its_own(tmp_path: Path) -> None:
    """Also where two fall into one tick of the file system's clock and are of one size."""
    place = LocalFolder(tmp_path)
    signatures = {place.write("a", bytes([number])) for number in range(50)}
    assert len(signatures) == 50
    last = place.write("a", b"x")
    (tmp_path / "a").write_bytes(b"y")  # at once, by somebody else
    assert place.signatures()["a"] != last


def test_a_copy_has_another_signature_even_with_its_times_kept(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    signature = place.write("a", b"x")
    shutil.copy2(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").stat().st_mtime_ns == (tmp_path / "b").stat().st_mtime_ns
    assert place.signatures()["b"] != signature


def test_times_of_just_now_are_not_steady(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    (tmp_path / "a").write_bytes(b"x")
    assert not place.is_steady(place.signatures()["a"])
    os.utime(tmp_path / "a", (1, 1))  # the time of the last change of its entry is still of now
    assert not place.is_steady(place.signatures()["a"])
    assert place.is_steady((1, 10**9, 10**9))


def test_links_out_of_the_store_are_not_followed(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path / "store")
    place.write("a", b"x")
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "store" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "store" / "within").symlink_to("a")
    with pytest.raises(OSError, match="a link to .*secret, outside of the store"):
        place.read("out")
    assert place.read("within") == b"x"


def test_a_linked_folder_is_said_where_the_whole_store_is_read(tmp_path: Path) -> None:
    """Otherwise a check would leave out in silence what a run reads."""
    place = LocalFolder(tmp_path / "store")
    place.write("scan/a", b"x")
    (tmp_path / "store" / "scan").rename(tmp_path / "elsewhere")
    (tmp_path / "store" / "scan").symlink_to(tmp_path / "elsewhere")
    assert place.read("scan/a") == b"x"
    assert set(place.signatures("scan")) == {"a"}
    with pytest.raises(StoreError, match="scan is a link to the folder .*elsewhere"):
        place.signatures(deep=True)
    (tmp_path / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "scan").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "store" / "scan")
    assert set(LocalFolder(tmp_path / "linked").signatures(deep=True)) == {"scan/a"}


@pytest.mark.parametrize("link", ["figures", "notes/scan", "of-others"])
def test_a_linked_folder_that_is_no_part_of_a_store_is_left_out(link: str, tmp_path: Path) -> None:
    place = LocalFolder(tmp_path / "store")
    place.write("scan/a", b"x")
    (tmp_path / "elsewhere" / "figures").mkdir(parents=True)
    (tmp_path / "elsewhere" / "figures" / "done.json").write_bytes(b"{}")
    (tmp_path / "store" / link).parent.mkdir(exist_ok=True)
    (tmp_path / "store" / link).symlink_to(tmp_path / "elsewhere")
    assert set(place.signatures(deep=True)) == {"scan/a"}
    assert place.links() == [link]


@pytest.mark.parametrize("link", ["train/0123456789abcdef", "train/0123456789abcdef/step-1", "newer/0123456789abcdef"])
def test_a_linked_folder_that_may_hold_results_is_said(link: str, tmp_path: Path) -> None:
    """Whichever of its folders it is, and of kinds that a newer linescape may know, too."""
    for depth in range(1, len(link.split("/")) + 1):
        root = tmp_path / f"store{depth}"
        linked = root.joinpath(*link.split("/")[:depth])
        elsewhere = tmp_path / f"elsewhere{depth}"
        elsewhere.joinpath(*link.split("/")[depth:]).mkdir(parents=True)
        linked.parent.mkdir(parents=True, exist_ok=True)
        linked.symlink_to(elsewhere)
        with pytest.raises(StoreError, match="is a link to the folder .*elsewhere"):
            LocalFolder(root).signatures(deep=True)


def test_an_address_that_pathlib_shortened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="left out a slash. Give it as text"):
        opened(Path("s3://bucket/folder"))
    assert opened(f"file://{tmp_path}").address() == opened(tmp_path).address() == str(tmp_path)


def test_a_store_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was verified is noted where that is possible, and a damage counts also where the note cannot go."""
    store = fill(tmp_path)
    note = store.folder(TASK) / "verified.json"
    noted = note.read_bytes()
    note.unlink()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(LocalFolder, "is_steady", lambda self, signature: True)
    with monkeypatch.context() as patch:
        for name in ("replace", "write_bytes", "unlink", "mkdir"):
            patch.setattr(Path, name, refuse)
        assert Store(tmp_path).has(TASK)
        assert not note.exists()
        with pytest.raises(StoreError, match="the file system is read-only"):
            Store(tmp_path).decline(LINE, "no", {})
    assert Store(tmp_path).has(TASK)
    assert note.read_bytes() == noted
    path = store.folder(TASK) / "end.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    checksums, present = store.record(TASK)["files"], store.place.signatures(f"train/{TASK.key}")
    store._note(TASK, checksums, {name: present[name] for name in checksums})  # as if a disk had lost the bit
    found = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert found.has(TASK)
        with pytest.raises(DamagedError, match="end.safetensors is damaged"):
            found.state(Moment(PLAIN))
        assert not found.has(TASK)


def test_a_bit_that_a_disk_lost_is_found_when_it_is_used(tmp_path: Path) -> None:
    store, training, line = Store(tmp_path), Train(FLAT), whole(FLAT)
    work([line], store, progress=False, workers=1)
    path = store.folder(training) / "end.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    checksums, present = store.record(training)["files"], store.place.signatures(f"train/{training.key}")
    store._note(training, checksums, {name: present[name] for name in checksums})
    shutil.rmtree(store.folder(line))
    assert Store(tmp_path).has(training)
    outcome = work([line], Store(tmp_path), progress=False, workers=1)
    assert (outcome.failed, outcome.done) == ({}, 2)
    assert "end.safetensors is damaged" in outcome.remarks[training]
    assert path.read_bytes() == content


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        ballast, store, room, stops = disk / "ballast", Store(disk / "store"), 80_000, 0
        while True:
            with suppress(OSError):
                ballast.write_bytes(bytes(max(1_400_000 - room, 0)))
            try:
                outcome = work(study(), store, progress=False, workers=1)
                break
            except StoreError as error:
                assert "the disk is full" in str(error)  # noqa: PT017
            ballast.unlink()
            assert not check(store).damaged
            room, stops = room + 60_000, stops + 1
        assert (outcome.failed, stops > 5) == ({}, True)
        found = check(Store(disk / "store"))
        assert (found.whole, found.damaged, found.begun) == (6, {}, [])
        assert not list(disk.rglob("*.partial"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_whether_a_folder_is_claimed_is_seen_without_a_trace(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    assert not place.is_claimed("scan/a")
    assert not (tmp_path / "scan").exists()
    for part in ("", "0-2"):
        with place.claim("scan/a", part) as claimed:
            assert claimed
            assert LocalFolder(tmp_path).is_claimed("scan/a")
        assert not place.is_claimed("scan/a")


def test_a_folder_that_is_removed_while_it_is_claimed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whoever had it does, where nothing was in it."""
    mkdir, times = Path.mkdir, [1, 2]

    def removed(self: Path, *given: Any, **named: Any) -> None:
        mkdir(self, *given, **named)
        if times and self == tmp_path / "scan" / "a":
            times.pop()
            self.rmdir()

    for part in ("", "0-2"):
        times[:] = [1, 2]  # once by this package, once by that of the locks
        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", removed)
            with LocalFolder(tmp_path).claim("scan/a", part) as claimed:
                assert claimed
        assert not times
        LocalFolder(tmp_path).delete(*(f"scan/a/{name}" for name in LocalFolder(tmp_path).names("scan/a")))
        (tmp_path / "scan" / "a").rmdir()


def test_a_lock_that_another_has_is_not_removed(tmp_path: Path) -> None:
    place = LocalFolder(tmp_path)
    with place.claim("scan/a") as claimed:
        assert claimed
        with filelock.FileLock(tmp_path / "scan" / "a" / ".lock-0-2"):  # a part begins: it looks at the whole next
            place.delete_empty("scan/a")
            assert place.names("scan/a") == [".lock", ".lock-0-2"]
        (tmp_path / "scan" / "a" / ".lock-0-2").unlink()
        place.delete_empty("scan/a")
        assert not (tmp_path / "scan" / "a").exists()
