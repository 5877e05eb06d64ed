"""A folder behind an address of fsspec: a bucket of S3 or of a server like it, of Google Cloud Storage, and others.

An object is put whole or not at all. Claims are leases. What goes wrong on the way is tried again for a minute, once
the place has answered at all.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec

from linescape.errors import StoreError, first_line
from linescape.studies.places.leases import Leases
from linescape.studies.places.place import LEASE, Signature

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each further try of what failed, such as for a network that is down."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Scheme -> the extra of linescape that brings its package."""

_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Failures that another try does not change."""


class RemoteFolder:
    """A folder behind an address; see `Place`.

    Raises:
        StoreError: no installed package knows the address, or it cannot be reached.
    """

    claims_last = False

    def __init__(self, url: str) -> None:
        self._url, self._scheme = url, url.partition("://")[0]
        if "::" in url:
            raise StoreError(f"{url} is an address within another, which may answer with old copies. Name one place.")
        try:
            self._system, path = fsspec.core.url_to_fs(url)
        except ImportError as error:
            extra = _EXTRAS.get(self._scheme)
            how = f"Install it: pip install 'linescape[{extra}]'" if extra else f"Install it: {first_line(error)}"
            raise StoreError(f"{url} needs a package that is not installed. {how}") from error
        except Exception as error:  # each package has errors of its own
            raise StoreError(f"{url} cannot be opened: {first_line(error)}. Check the address.") from error
        self._path = path.rstrip("/")
        self._answered = False
        self._leases = Leases(self)

    def address(self) -> str:
        """The address with which it was opened."""
        if self._scheme == "memory":
            raise StoreError(
                f"{self._url} is in the memory of this process, so no other one can work on it. Use one process "
                "(workers=1), or name a folder."
            )
        return self._url

    def shown(self, name: str = "") -> str:
        """The address of a file or a folder."""
        address: str = self._system.unstrip_protocol(self._full(name))
        return address

    def read(self, name: str) -> bytes:
        """The content of an object."""
        content: bytes = self._tried("read", name, self._system.cat_file)
        return content

    def write(self, name: str, content: bytes, *, durable: bool = True) -> Signature | None:  # noqa: ARG002
        """Put an object; it is durable when the place says that it has it."""
        answer = self._tried("write", name, lambda path: self._put(path, content, "overwrite"))
        etag = answer.get("ETag") if isinstance(answer, dict) else None
        return ("ETag", str(etag), len(content)) if etag else None

    def create(self, name: str, content: bytes) -> bool:
        """Put an object if there is none, and say whether; where the place cannot do both in one, it is asked first."""
        try:
            self._tried("write", name, lambda path: self._put(path, content, "create"))
        except FileExistsError:
            return False
        return True

    def flush(self, folder: str) -> None:
        """Nothing is left to wait for."""

    def delete(self, *names: str) -> None:
        """Remove objects."""
        for name in names:
            with suppress(OSError):
                self._tried("write", name, self._system.rm_file)

    def delete_empty(self, folder: str) -> None:
        """There are no folders without objects."""

    def names(self, folder: str = "") -> list[str]:
        """Names of the objects and folders directly in a folder."""
        return sorted(_last(each["name"]) for each in self._listed(folder))

    def signatures(self, folder: str = "", *, deep: bool = False) -> dict[str, Signature]:
        """Sizes and ETags of the objects in a folder, or times where the place has no ETags."""
        if deep:
            found = self._fresh(folder, lambda path: list(self._system.find(path, detail=True).values()))
        else:
            found = [each for each in self._listed(folder) if each["type"] == "file"]
        start = len(self._full(folder).strip("/")) + 1 if self._full(folder).strip("/") else 0
        return {each["name"].strip("/")[start:]: _signature(each) for each in found}

    def links(self) -> list[str]:
        """No such place has any."""
        return []

    def is_steady(self, signature: Signature) -> bool:
        """Whether it has an ETag, which is another for another content."""
        return signature[0] == "ETag"

    def is_claimed(self, folder: str) -> bool:
        """Whether a lease of the folder is renewed; that of a process which died counts until it has expired."""
        names = [name for name in self.names(folder) if name.startswith(LEASE)]
        free = [self._leases.is_free(f"{folder}/{name}") for name in names]  # each is looked at, for its age
        return not all(free)

    @contextmanager
    def claim(self, folder: str, part: str = "", wait: bool = False) -> Iterator[bool]:
        """Take the folder's lease, see `leases`."""
        own = f"{folder}/{LEASE}{part and '-'}{part}"
        lease = self._leases.acquire(own, wait)
        try:
            parts = [name for name in self.names(folder) if name.startswith(f"{LEASE}-")]
            others = [LEASE] if part else parts
            yield lease is not None and all(self._leases.is_free(f"{folder}/{name}") for name in others)
        finally:
            if lease is not None:
                lease.release()

    # -- requests -----------------------------------------------------------------------------------------------

    def _full(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path

    def _put(self, path: str, content: bytes, mode: str) -> object:
        try:
            return self._system.pipe_file(path, content, mode=mode)
        except FileNotFoundError:
            if self._scheme in _EXTRAS:
                raise  # there are no folders, so the bucket is missing, and making it is for its owner
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            return self._system.pipe_file(path, content, mode=mode)

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        listed = self._fresh(folder, lambda path: self._system.ls(path, detail=True))
        own = self._full(folder).strip("/")
        return [each for each in listed if each["name"].strip("/") != own]  # a marker of the folder itself

    def _fresh(self, folder: str, ask: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        self._system.invalidate_cache()  # other processes write too
        try:
            found: list[dict[str, Any]] = self._tried("read", folder, ask)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return found

    def _tried(self, what: str, name: str, ask: Callable[[str], Any]) -> Any:
        """The answer to a request; a failure that may pass is tried again."""
        for wait in (*(WAITS if self._answered else ()), None):
            try:
                answer = ask(self._full(name))
            except _FINAL as error:
                if isinstance(error, FileNotFoundError) and what == "read":
                    self._answered = True
                    raise FileNotFoundError(errno.ENOENT, "it is not there", self.shown(name)) from error
                if isinstance(error, FileExistsError):
                    raise
                raise self._failed(what, name, error) from error
            except Exception as error:  # each package has errors of its own
                if wait is None:
                    raise self._failed(what, name, error) from error
                time.sleep(wait)
            else:
                self._answered = True
                return answer
        raise AssertionError  # the last try returns or raises

    def _failed(self, what: str, name: str, error: Exception) -> StoreError:
        told = "read" if what == "read" else "written"
        return StoreError(
            f"{self.shown(name)} cannot be {told}: {first_line(error)}. Check the address, your credentials and the "
            "network, then try again. Everything written before is intact."
        )


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _signature(about: dict[str, Any]) -> Signature:
    """Where nothing tells of a change, one that is never equal to itself again."""
    if etag := about.get("ETag") or about.get("etag"):
        return "ETag", str(etag), int(about["size"])
    changed = next((about[name] for name in ("mtime", "LastModified", "created") if name in about), time.monotonic_ns())
    return "time", str(changed), int(about["size"])
