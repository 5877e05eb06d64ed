"""A folder takes one report at a time: of two, figures and tables of the one would lie beside the page of the other.

The lock is on the folder itself, so that nothing of it is left there, and the system frees it when its process dies.
Where folders cannot be locked, as on Windows and some network drives, nothing is reserved.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from linescape import atomic
from linescape.errors import StoreError
from linescape.report.page import check_free

TRIES = 9
"""Times that a folder is made and locked, at most: a process whose request failed may remove it between the two."""

_reserved: set[tuple[Path, int]] = set()
"""Folders of this process, each with the thread that has it."""


@contextmanager
def reserved(folder: str | Path) -> Iterator[None]:
    """Keep other processes from a folder of a report; it is made if it is missing, and removed if it stays empty.

    Raises:
        StoreError: another process has it, it cannot be written, or has files that linescape did not write.
    """
    root = Path(folder)
    check_free(root)
    own = root.resolve(), threading.get_ident()
    if own in _reserved:  # for more than the writing, as by a command that measures first
        yield
        return
    new = not root.exists()
    lock = _locked(root)
    _reserved.add(own)
    try:
        yield
    finally:
        _reserved.discard(own)
        if new:
            with suppress(OSError):  # there is something in it, unless a request has failed
                root.rmdir()
        if lock is not None:
            _unlock(lock)


def _locked(root: Path) -> int | None:
    """The folder, opened and locked; None where folders cannot be locked."""
    try:
        for _ in range(TRIES):
            root.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                lock = _lock(root)
                if lock is None or os.path.samestat(os.fstat(lock), root.stat()):
                    return lock
    except BlockingIOError as error:
        raise StoreError(
            f"Another process is writing a report to {root}, so their files would be mixed. Wait until it is done, or "
            "name another folder."
        ) from error
    except OSError as error:
        raise atomic.cannot_write(root, error) from error
    return None


def _lock(root: Path) -> int | None:
    if os.name != "posix":
        return None
    import fcntl  # which Windows has not

    try:
        lock = os.open(root, os.O_RDONLY)
    except PermissionError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return lock


def _unlock(lock: int) -> None:
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would leave it to processes that were forked meanwhile
    os.close(lock)
