"""One file from an address: kept as ``*.part`` while it comes, gone on with after a break, and checked at the end."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from linescape import atomic
from linescape.data.archives.files import MOST
from linescape.errors import DataError

PART = ".part"
"""The end of the names of what is not yet whole."""

_CHUNK = 1 << 16
_PATIENCE = 30.0  # seconds without a byte until a connection counts as broken
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def download(url: str, target: Path, checksum: str, watch: Callable[[int, int | None], None]) -> None:
    """Bring a file to its place; a second call after a break asks only for the rest.

    Args:
        url: where it is, http or https.
        target: where it goes; its folder is there. A file that is there already is checked and kept.
        checksum: ``md5:...`` or ``sha256:...``.
        watch: is told the bytes that are here and those of the whole file, None if the server does not say.

    Raises:
        DataError: the server cannot be reached, breaks off, or gives something else.
        StoreError: the file cannot be written.
    """
    if target.exists() and matches(target, checksum):
        return
    part = target.with_name(target.name + PART)
    try:
        _take(url, part, watch)
    except (OSError, http.client.HTTPException) as error:  # addresses, timeouts and broken connections are OSErrors too
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise atomic.cannot_write(part, error) from error
        have = part.stat().st_size if part.exists() else 0
        kept = f" The {have:,} bytes that came are kept, and the same command goes on from there." if have else ""
        raise DataError(
            f"{url} could not be fetched ({getattr(error, 'reason', None) or error}). Is there a network?{kept}"
        ) from error
    if not matches(part, checksum):
        part.unlink()
        raise DataError(
            f"What came from {url} does not have the checksum {checksum}: it was damaged on the way, or is not what "
            "the set's authors published. It was deleted; try again."
        )
    part.replace(target)


def matches(path: Path, checksum: str) -> bool:
    """Whether a file has a checksum, ``md5:...`` or ``sha256:...``."""
    kind, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest() == expected


def _take(url: str, part: Path, watch: Callable[[int, int | None], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - see below
    try:
        reply = urllib.request.urlopen(request, timeout=_PATIENCE)  # noqa: S310 - addresses are those of sources.py
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing after what is here: it is whole, or the checksum will tell
            return
        raise
    with reply:
        if not (reply.status == 206 and reply.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            have = 0  # the server gives the whole file again
        length = reply.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with part.open("ab" if have else "wb") as file:
            while max(have, total or 0) <= MOST and (piece := reply.read(_CHUNK)):
                have += len(piece)
                file.write(piece)
                watch(have, total)
            file.flush()
            os.fsync(file.fileno())
    if max(have, total or 0) > MOST:
        raise DataError(f"{url} gives more than {MOST:,} bytes, and no set that is read here is so large.")
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")
