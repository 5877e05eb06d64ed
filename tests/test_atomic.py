"""A file is whole or not there, whatever goes wrong; what is opened is a plain file."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from linescape import atomic
from linescape.errors import StoreError

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and links")


def half(path: Path, error: BaseException) -> None:
    """Write half a file, then fail."""
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "full"), "the disk is full"),
        (OSError(errno.EFBIG, "large"), "larger than is allowed here"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error. Check the disk"),
        (StoreError("said already"), "said already"),
        (ValueError("of the caller's"), "of the caller's"),
        (KeyboardInterrupt("Ctrl-C"), "Ctrl-C"),
    ],
)
def test_a_failure_keeps_the_earlier_file_whole(error: BaseException, message: str, tmp_path: Path) -> None:
    path = tmp_path / "result"
    atomic.write(path, b"whole")
    with pytest.raises(StoreError if isinstance(error, OSError) else type(error), match=message):
        half(path, error)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.mkdir()
    (path / "one").write_text("whole")

    def replace() -> None:
        with atomic.replacing(path) as temporary:
            temporary.mkdir()
            (temporary / "two").write_text("other")

    with pytest.raises(StoreError):
        replace()
    assert [file.read_text() for file in path.iterdir()] == ["whole"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\0b", "no file here can have that name"),
        ("folder\0/file", "no file here can have that name"),
        ("lone\ud800", "no file here can have that name"),
        ("n" * 300, "its name is too long"),
        ("n" * 240, "its name is too long"),
        ("n" * 300 + "/file", "its name is too long"),
    ],
)
def test_names_that_no_file_can_have_are_said(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=message):
        atomic.write(tmp_path / name, b"content")
    with pytest.raises(OSError, match="no file here can have that name|name too long|No such file"):
        atomic.read(tmp_path / name)


@posix
def test_a_link_to_nothing_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="it is a link to nowhere, where nothing is"):
        atomic.read(tmp_path / "link")
    with pytest.raises(StoreError, match="link is a link to nowhere, where nothing is. Remove it"):
        atomic.write(tmp_path / "link" / "folder" / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def sock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # which may have 107 letters


@posix
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "no plain file but a pipe"),
        (sock, "no plain file but a pipe, a socket"),
        (Path.mkdir, "no plain file but a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "or a device"),
    ],
)
def test_only_plain_files_are_opened(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make(tmp_path / "it")
    for read in (atomic.read, atomic.size):
        with pytest.raises(OSError, match=message):
            read(tmp_path / "it")


@posix
def test_a_device_is_never_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "is_char_device", lambda path: path.name == "null")
    with pytest.raises(StoreError, match="that is a device. Choose another name"):
        atomic.write(tmp_path / "null", b"content")
    assert not list(tmp_path.iterdir())


def test_a_file_is_read_whole_also_through_a_link(tmp_path: Path) -> None:
    atomic.write(tmp_path / "file", b"content")
    assert (atomic.read(tmp_path / "file"), atomic.size(tmp_path / "file")) == (b"content", 7)
    if sys.platform != "win32":
        (tmp_path / "link").symlink_to("file")
        assert atomic.read(tmp_path / "link") == b"content"


def test_a_file_that_another_machine_replaces_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read, failures = tmp_path / "file", Path.read_bytes, [errno.ESTALE]
    path.write_bytes(b"new")

    def stale(self: Path) -> bytes:
        if failures:
            raise OSError(failures.pop(), "Stale file handle", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", stale)
    assert atomic.read(path) == b"new"
    failures += [errno.ESTALE, errno.ESTALE]
    with pytest.raises(OSError, match="Stale"):
        atomic.read(path)
