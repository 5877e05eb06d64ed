"""A file is whole or not there: written beside its place, flushed, then renamed over it."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
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
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
        if durable and os.name == "posix":
            _flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # after the rename it is gone
            beside.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error that says why a path could not be written and what to do."""
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}. Make that place writable")
    return StoreError(f"{path} could not be written: {reason}, then try again. Everything written before is intact.")


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
