"""A folder of this machine, or one that it has mounted."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

from linescape import atomic
from linescape.errors import StoreError
from linescape.studies.layout import is_own
from linescape.studies.places.place import LOCK, Signature

_NOT_THERE = (errno.ENOENT, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
"""Failures to read that mean that a file is not there any more; others, such as missing permission, may pass."""

TICK = 10_000_000
"""Nanoseconds between two times that a file system can tell apart, at most, on Linux."""

TRIES = 9
"""Times that a folder is made and locked, at most: whoever had it may remove it between the two."""

STEADY = 2.0
"""Seconds after which a file's times are older than any change to come, on every file system."""


class LocalFolder:
    """A folder of this machine; see `Place`.

    Raises:
        StoreError: it is a file, or cannot be read.
    """

    claims_last = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: dict[str, set[str]] = {}  # of the folders that this process has claimed as a whole, by name
        if re.fullmatch("[a-z][a-z0-9+.-]+:", root.parts[0] if root.parts else ""):
            raise StoreError(f"{root} was an address before pathlib left out a slash. Give it as text.")
        try:
            atomic.check_name(root)
            if root.exists() and not root.is_dir():
                raise StoreError(f"{root} is a file. Results need a folder: name another.")
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise atomic.cannot_read(root, error) from error

    def address(self) -> str:
        """Its absolute path."""
        return str(self.root.absolute())

    def shown(self, name: str = "") -> str:
        """The path of a file or a folder."""
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        """The content of a plain file."""
        path = self.root / name
        try:
            if path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve()):
                raise OSError(errno.ENXIO, f"it is a link to {path.readlink()}, outside of the store", str(path))
            return atomic.read(path)
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise
            raise atomic.cannot_read(path, error) from error

    def write(self, name: str, content: bytes, *, durable: bool = True) -> Signature | None:
        """Write a file under another name and rename it.

        Its time of modification gets random nanoseconds within the tick, so that no other write has the same.
        """
        path = self.root / name
        with atomic.replacing(path, durable=durable) as temporary:
            temporary.write_bytes(content)
            modified = time.time_ns() // TICK * TICK + secrets.randbelow(TICK)
            with suppress(OSError):  # then the time is not taken for one of its own
                os.utime(temporary, ns=(modified, modified))
        with suppress(OSError):
            signature = _signature(path.stat())
            return signature if signature[1] == modified else None
        return None

    def flush(self, folder: str) -> None:
        """Wait for the disk, for each plain file and then for their names."""
        paths = [path for path in self._paths(folder) if path.is_file() and not path.is_symlink()]
        for path in [*paths, *([self.root / folder] if paths else [])]:
            try:
                atomic.flush(path)
            except FileNotFoundError:
                continue  # another process removed it
            except OSError as error:
                raise atomic.cannot_write(path, error) from error

    def delete(self, *names: str) -> None:
        """Remove files."""
        for name in names:
            with suppress(OSError):
                (self.root / name).unlink(missing_ok=True)

    def delete_empty(self, folder: str) -> None:
        """Remove a folder that holds only locks. Who waits for one of them notices that it is gone (`filelock`).

        Locks that this process does not have stay: by their removal two could have one of them.
        """
        names = self.names(folder)
        if self._locks.get(folder, set()).issuperset(names):
            self.delete(*(f"{folder}/{name}" for name in names))
            with suppress(OSError):
                (self.root / folder).rmdir()

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in a folder."""
        return sorted(path.name for path in self._paths(folder))

    def signatures(self, folder: str = "", *, deep: bool = False) -> dict[str, Signature]:
        """Sizes and times of the files in a folder; of links, those of what they lead to.

        Raises:
            StoreError: it cannot be read, or, where it is read as a whole, one of a store's own folders is a link.
        """
        found: dict[str, Signature] = {}
        for path in self._paths(folder):
            try:
                about = path.stat()
                if not stat.S_ISDIR(about.st_mode):
                    found[path.name] = _signature(about)
                elif deep and not self._is_link_elsewhere(path):
                    below = self.signatures(f"{folder}/{path.name}" if folder else path.name, deep=True)
                    found |= {f"{path.name}/{name}": signature for name, signature in below.items()}
            except FileNotFoundError:
                continue  # a link to nothing, or it is gone
            except OSError as error:
                if isinstance(error, StoreError):
                    raise
                raise atomic.cannot_read(path, error) from error
        return found

    def links(self) -> list[str]:
        """Folders that are links and no part of a store."""
        paths = (Path(folder) / name for folder, names, _ in os.walk(self.root) for name in names)
        return sorted(path.relative_to(self.root).as_posix() for path in paths if self._is_link_elsewhere(path))

    def is_steady(self, signature: Signature) -> bool:
        """Whether its times are not of just now."""
        return all(isinstance(moment, int) and moment < time.time_ns() - STEADY * 1e9 for moment in signature[1:])

    def is_claimed(self, folder: str) -> bool:
        """Whether a lock of the folder is held. A free one is shared for a moment, in which nobody gets it."""
        return any(_is_locked(path) for path in self._paths(folder) if path.name.startswith(LOCK))

    @contextmanager
    def claim(self, folder: str, part: str = "", wait: bool = False) -> Iterator[bool]:
        """Lock the folder; the system frees the lock of a process that dies."""
        with ExitStack() as held:
            try:
                claimed = self._locked(folder, part, wait, held)
            except (OSError, NotImplementedError) as error:
                reason = error if isinstance(error, OSError) else OSError(str(error))
                raise atomic.cannot_write(self.root / folder, reason) from error
            yield claimed

    def _locked(self, folder: str, part: str, wait: bool, held: ExitStack) -> bool:
        """Whether the folder could be locked; the locks are put into `held`."""
        path = self.root / folder
        for further in reversed(range(TRIES)):
            try:
                path.mkdir(parents=True, exist_ok=True)
                if part:
                    held.enter_context(filelock.FileLock(path / f"{LOCK}-{part}", blocking=False))
                    with filelock.FileLock(path / LOCK).acquire(timeout=0.5, poll_interval=0.02):
                        return True  # another part only looks, too
                self._lock_whole(folder, wait, held)
            except filelock.Timeout:
                held.close()
                return False
            except FileNotFoundError:  # who had the folder has removed it, as nothing was in it
                held.close()
                if not further:
                    raise
            else:
                return True
        raise AssertionError  # the last try returns or raises

    def _lock_whole(self, folder: str, wait: bool, held: ExitStack) -> None:
        path, locks = self.root / folder, set[str]()
        for lock in (path / LOCK, *path.glob(f"{LOCK}-*")):
            held.enter_context(filelock.FileLock(lock, blocking=wait))
            locks.add(lock.name)
        self._locks[folder] = locks
        held.callback(self._locks.pop, folder)
        # Of killed processes; parts write side by side, and so leave what they find.
        for left in (*path.glob(f".*{atomic.SUFFIX}*"), *path.glob(f"*/.*{atomic.SUFFIX}*")):
            with suppress(OSError):
                left.unlink(missing_ok=True)

    def _is_link_elsewhere(self, folder: Path) -> bool:
        """Whether a folder is a link and no part of a store, which is said but not followed.

        Raises:
            StoreError: it is one of a store's own: then some of the results would be left out.
        """
        if not folder.is_symlink():
            return False
        name = folder.relative_to(self.root).as_posix()
        if is_own(name, self.names(name)):
            raise StoreError(
                f"{folder} is a link to the folder {folder.resolve()}, which may be part of another store, so nothing "
                "in it is listed, checked, removed or exported. Put the folder itself in the link's place; to keep a "
                "store on another disk, link the whole store."
            )
        return True

    def _paths(self, folder: str) -> list[Path]:
        path = self.root / folder
        try:
            return list(path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise atomic.cannot_read(path, error) from error


def _is_locked(path: Path) -> bool:
    import fcntl  # which Windows has not

    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise atomic.cannot_read(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise atomic.cannot_read(path, error) from error
    finally:
        os.close(handle)
    return False


def _signature(about: os.stat_result) -> Signature:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns
