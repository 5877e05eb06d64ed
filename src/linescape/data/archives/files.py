"""Reading bytes of files in pieces, up to a limit, with the same error messages in all readers."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, NoReturn, cast

import numpy as np
import numpy.typing as npt

from linescape import atomic
from linescape.errors import DataError

Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""Images ``(n, channels, height, width)`` as uint8 or features ``(n, features)`` as float32, and labels ``(n,)``."""

MOST = 1 << 29
"""Bytes that are read from one file, or unpacked from it; the largest of these data sets, CIFAR, takes 186 MB."""

_CHUNK = 1 << 20


def content(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: it is too large, or cannot be read.
    """
    with reading(path):
        if path.stat().st_size > MOST:
            damaged(path, f"is larger than {MOST} bytes")
        return path.read_bytes()


def members(path: Path, wanted: Callable[[PurePosixPath], bool]) -> dict[PurePosixPath, bytes]:
    """The selected files of a tar archive, plain or gzip: name -> content; nothing is written to disk.

    Raises:
        DataError: the archive is damaged, too large, or a name in it points out of its own folder.
    """
    contents: dict[PurePosixPath, bytes] = {}
    with reading(path), opened(path) as stream:
        capped = _Capped(stream, path)
        with tarfile.open(fileobj=capped, mode="r|") as archive:
            for name, member in _walked(archive, path):
                # A sparse member is long without bytes in the file; no archive of these sets has one.
                if member.isreg() and not member.issparse() and wanted(name):
                    contents[name] = exactly(cast(IO[bytes], archive.extractfile(member)), member.size, path)
        while capped.read():  # to the end of the file, where gzip's checksum is
            pass
    return contents


def first_member(path: Path, wanted: Callable[[PurePosixPath], bool]) -> PurePosixPath | None:
    """The name of the first selected file of a tar archive; the rest of the archive is not read.

    Raises:
        DataError: as in `members`.
    """
    with reading(path), opened(path) as stream, tarfile.open(fileobj=_Capped(stream, path), mode="r|") as archive:
        for name, member in _walked(archive, path):
            if member.isreg() and wanted(name):
                return name
    return None


def _walked(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo]]:
    for member in archive:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            damaged(path, f"has a member {member.name!r} that points out of its own folder")
        yield name, member


class _Capped(io.RawIOBase):
    """A stream that stops being read beyond `MOST` bytes, so that a small file cannot unpack to a large one."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.count = stream, path, 0

    def read(self, size: int = -1, /) -> bytes:
        piece = self.stream.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self.count += len(piece)
        if self.count > MOST:
            damaged(self.path, f"unpacks to more than {MOST} bytes")
        return piece


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked if it is gzip, whatever its name."""
    with path.open("rb") as plain:
        compressed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not compressed:
            yield plain
            return
        with gzip.GzipFile(fileobj=plain) as stream:
            yield cast(BinaryIO, stream)


def exactly(stream: IO[bytes], count: int, source: Path | str) -> bytes:
    """The next `count` bytes of a stream; memory is taken only as bytes arrive.

    Raises:
        DataError: the stream ends before.
    """
    taken = bytearray()
    while len(taken) < count:
        piece = stream.read(min(_CHUNK, count - len(taken)))
        if not piece:
            damaged(source, f"ends {count - len(taken)} bytes before its header says")
        taken += piece
    return bytes(taken)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns every failure to read a file into a `DataError`, of which a pipe in its place is one."""
    with looking(path):
        atomic.size(path)
        yield


@contextmanager
def looking(path: Path) -> Iterator[None]:
    """Turns every failure to read what is at a path, a file or a folder, into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}), so its images cannot be trusted. Download it again.") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}). Check the path and its permissions."
        ) from error


def damaged(source: Path | str, what: str) -> NoReturn:
    """Raise the `DataError` for a damaged file; `what` continues a sentence that begins with the source."""
    raise DataError(f"{source} {what}. The file is damaged or is another file: download it again.")
