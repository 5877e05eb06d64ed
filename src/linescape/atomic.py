"""A file or folder is whole or not there: it is written under another name, flushed, then renamed.

What is read is a plain file: opening a pipe in its place would wait for ever.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from linescape.errors import StoreError

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space",
    errno.EDQUOT: "your disk quota is used up. Free some space",
    errno.EROFS: "the file system is read-only. Choose another folder",
    errno.EACCES: "you may not write there. Change its permissions or choose another folder",
    errno.EPERM: "you may not write there. Change its permissions or choose another folder",
    errno.EFBIG: "the file would be larger than is allowed here. Raise the limit (ulimit -f) or choose another disk",
    errno.ENOTDIR: "a part of its path is a file. Choose another folder",
    errno.EEXIST: "a part of its path is a file. Choose another folder",
    errno.ENAMETOOLONG: "its name is too long, as some letters are added while it is written. Choose a shorter name",
    errno.EISDIR: "that is a folder. Remove it or choose another name",
    errno.ENXIO: "that is a device. Choose another name",
    errno.EILSEQ: "no file here can have that name. Choose another name",
}

SUFFIX = ".partial"
"""The end of the names of files that are being written; one that is left over is from a killed process."""


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file; a reader sees the old content or the new, and a failure leaves the old.

    Args:
        path: the file; missing folders above it are made.
        content: the whole content.
        durable: wait until the disk has it, so that it survives a power failure.

    Raises:
        StoreError: the disk is full, or the folder may not be written to.
    """
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path to write a file or a folder at, renamed to `path` at the end; after an error nothing of it is left.

    Args:
        path: the file or folder; missing folders above it are made.
        durable: wait until the disk has it, so that it survives a power failure.

    Raises:
        StoreError: the disk is full, or the folder may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{SUFFIX}")
    try:
        check_name(path)
        if path.is_char_device() or path.is_block_device():  # a rename would put a file in its place
            raise OSError(errno.ENXIO, "that is a device")
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            for written in (temporary, *temporary.rglob("*")):
                flush(written)
        temporary.replace(path)
        if durable:
            flush(path.parent)
    except StoreError:  # an OSError too, which already says what is wrong
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError, ValueError):  # after the rename it is gone; no file has a name with NUL
            if temporary.is_dir():
                shutil.rmtree(temporary)
            temporary.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """The content of a plain file.

    Raises:
        OSError: it is missing, something else, or cannot be read.
    """
    size(path)
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return path.read_bytes()  # on a network drive another machine has replaced it since its name was looked up


def size(path: Path) -> int:
    """The size of a plain file in bytes, to be asked for before it is opened.

    Raises:
        OSError: it is missing, a link to nothing, a folder, a pipe, a socket or a device.
    """
    check_name(path)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise FileNotFoundError(
                errno.ENOENT, f"it is a link to {path.readlink()}, where nothing is", str(path)
            ) from error
        raise
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is no plain file but a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ENXIO, "it is no plain file but a pipe, a socket or a device", str(path))
    return status.st_size


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error that says why a path could not be written and what to do."""
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}. Check the disk and the folder")
    with suppress(OSError):  # an EEXIST otherwise, with nothing there
        for part in (part for part in path.parents if part.is_symlink() and not part.exists()):
            reason = f"{part} is a link to {part.readlink()}, where nothing is. Remove it or choose another folder"
    return StoreError(f"{path} could not be written: {reason}, then try again. Everything written before is intact.")


def cannot_read(path: Path, error: OSError) -> StoreError:
    """The error that says why a path that is there could not be read and what to do."""
    return StoreError(
        f"{path} cannot be read: {error.strerror or error}. Check its permissions, or name another place."
    )


def check_name(path: Path) -> None:
    """Raise `OSError` for what no file can be called, where Python would raise `ValueError` on its first use."""
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise OSError(errno.EILSEQ, "no file here can have that name", str(path))


def flush(path: Path) -> None:
    """Wait until the disk has the content of a file, or the names in a folder.

    Raises:
        OSError: it is gone, or the disk failed.
    """
    if path.is_dir() and os.name != "posix":  # where a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows flushes only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
