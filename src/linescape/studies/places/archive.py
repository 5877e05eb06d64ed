"""An archive of results, as another place to read them from.

It may come from anybody, so its names are checked before anything is read. Its files are stored as they are: what one
takes in memory is at most what the archive takes on the disk.
"""

from __future__ import annotations

import errno
import stat
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from linescape import atomic
from linescape.errors import StoreError, abbreviate, first_line
from linescape.studies.layout import MARK, RESULT_FILE
from linescape.studies.places.place import Signature


class Archive:
    """A zip archive of results, read only; see `Place`."""

    claims_last = True

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        entries = archive.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        foreign = [entry.filename for entry in entries if not _is_ours(entry)]
        if foreign or len(self._entries) < len(entries) or MARK not in self._entries:
            found = f"it holds {abbreviate(foreign)}" if foreign else "names are twice in it, or linescape.json is not"
            raise StoreError(
                f"{path} is no archive that linescape store export wrote: {found}. Nothing was taken from it."
            )

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Archive]:
        """The archive in a file.

        Raises:
            StoreError: it cannot be read, or linescape did not write it.
        """
        try:
            atomic.size(path)  # which is none of a pipe
            with zipfile.ZipFile(path) as archive:
                yield cls(path, archive)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise StoreError(f"{path} is no readable archive: {first_line(error)}. Export it again.") from error
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise atomic.cannot_read(path, error) from error

    def address(self) -> str:
        """Its path."""
        return str(self._path)

    def shown(self, name: str = "") -> str:
        """The path of the archive, and what is in it."""
        return f"{self._path}/{name}" if name else str(self._path)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        if name not in self._entries:
            raise FileNotFoundError(errno.ENOENT, "it is not there", self.shown(name))
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, EOFError) as error:
            raise OSError(errno.EIO, first_line(error), self.shown(name)) from error

    def write(self, name: str, content: bytes, *, durable: bool = True) -> Signature | None:  # noqa: ARG002
        """Never writes."""
        raise StoreError(f"{self._path} is an archive, which is only read.")

    def flush(self, folder: str) -> None:
        """Never writes."""

    def delete(self, *names: str) -> None:
        """Nothing is removed from an archive."""

    def delete_empty(self, folder: str) -> None:
        """Nothing is removed from an archive."""

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in a folder."""
        start = f"{folder}/" if folder else ""
        return sorted({name[len(start) :].split("/")[0] for name in self._entries if name.startswith(start)})

    def signatures(self, folder: str = "", *, deep: bool = False) -> dict[str, Signature]:
        """Sizes and checksums of the files in a folder."""
        start = f"{folder}/" if folder else ""
        below = {name[len(start) :]: entry for name, entry in self._entries.items() if name.startswith(start)}
        return {name: (entry.file_size, entry.CRC) for name, entry in below.items() if deep or "/" not in name}

    def links(self) -> list[str]:
        """An archive has none."""
        return []

    def is_steady(self, signature: Signature) -> bool:  # noqa: ARG002
        """Nothing is noted in an archive."""
        return False

    def is_claimed(self, folder: str) -> bool:  # noqa: ARG002
        """Nobody works in an archive."""
        return False

    def claim(self, folder: str, part: str = "", wait: bool = False) -> AbstractContextManager[bool]:  # noqa: ARG002
        """Nobody works in an archive."""
        raise StoreError(f"{self._path} is an archive, which is only read.")


def _is_ours(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a plain file of a result: its name leads nowhere else, and it is not packed."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    plain = kind in (0, stat.S_IFREG) and entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
    named = entry.filename == MARK or RESULT_FILE.fullmatch(entry.filename)
    return bool(named) and plain and entry.file_size == entry.compress_size
