"""A file or folder is whole or not there: written beside its place, flushed, then renamed over it."""

from __future__ import annotations

import errno
import os
import shutil
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
    errno.ENOTDIR: "a part of its path is a file. Choose another folder",
    errno.EISDIR: "that is a folder. Choose another name",
}

SUFFIX = ".partial"
"""The end of the names of files that are being written; one that stays behind belongs to a killed process."""


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file; a reader sees the old content or the new, and a failure leaves the old.

    Args:
        path: the file; missing folders above it are made.
        content: all of it.
        durable: also survive a power failure (waits for the disk).

    Raises:
        StoreError: the disk is full, or the place may not be written to.
    """
    with beside(path, durable=durable) as place:
        place.write_bytes(content)


@contextmanager
def beside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A place to write a file or a folder at, which becomes `path` once all of it is written; else nothing is left.

    Args:
        path: the file or folder; missing folders above it are made.
        durable: also survive a power failure (waits for the disk).

    Raises:
        StoreError: the disk is full, or the place may not be written to.
    """
    place = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield place
        if durable:
            for written in (place, *place.rglob("*")):
                _flush(written)
        place.replace(path)
        if durable:
            _flush(path.parent)
    except StoreError:  # which is an OSError, and says already what is wrong
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # after the rename it is gone
            if place.is_dir():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error that says why a path could not be written and what to do."""
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}. Make that place writable")
    return StoreError(f"{path} could not be written: {reason}, then try again. Everything written before is intact.")


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # where a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows flushes only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
