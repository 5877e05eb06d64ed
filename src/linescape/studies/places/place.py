"""What a store needs of the place where its files lie."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

Signature = tuple[str | int, ...]
"""What tells, without reading a file, whether its content is another: size and times, or size and ETag."""

LOCK, LEASE = ".lock", ".lease"
"""The names of a folder's lock on this machine and elsewhere; those of parts have the part's name after it."""


class Place(Protocol):
    """A folder of files, by their names relative to it with ``/`` between parts.

    Attributes:
        claims_last: whether a claim is held as long as its process lives; else it may be lost, see `leases`.
    """

    claims_last: bool

    def address(self) -> str:
        """The text with which another process opens the same place; a path may need `os.fsencode`.

        Raises:
            StoreError: no other process can.
        """

    def shown(self, name: str = "") -> str:
        """The address of a file or a folder, for messages."""

    def read(self, name: str) -> bytes:
        """The content of a plain file.

        Raises:
            FileNotFoundError: it is missing.
            StoreError: it cannot be read, which may pass.
            OSError: what is there is no readable file, and never will be.
        """

    def write(self, name: str, content: bytes, *, durable: bool = True) -> Signature | None:
        """Write a file so that readers see all of it or what was there before.

        Args:
            name: of the file; missing folders above it are made.
            content: the whole content.
            durable: wait until it survives a power failure.

        Returns:
            Its signature, if any later change is sure to change that; else None.

        Raises:
            StoreError: it cannot be written; what was there stays.
        """

    def flush(self, folder: str) -> None:
        """Wait until the files directly in a folder survive a power failure; one that is not there is none.

        Raises:
            StoreError: the disk failed.
        """

    def delete(self, *names: str) -> None:
        """Remove files; one that cannot be removed stays, as it only takes up space."""

    def delete_empty(self, folder: str) -> None:
        """Remove a folder with nothing in it but locks, of which this process has the whole's; any other stays."""

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders directly in a folder, in order; none if there is no such folder.

        Raises:
            StoreError: the folder cannot be read.
        """

    def signatures(self, folder: str = "", *, deep: bool = False) -> dict[str, Signature]:
        """The signatures of the files in a folder, by their names in it; `deep`: and of those in its folders.

        Raises:
            StoreError: the folder cannot be read; or it is read with its folders, and one of a store's own is a link.
        """

    def links(self) -> list[str]:
        """Folders that are links and no part of a store: nothing in them is listed where the whole place is.

        Raises:
            StoreError: a folder cannot be read.
        """

    def is_steady(self, signature: Signature) -> bool:
        """Whether any change of a file from now on is sure to change its signature."""

    def is_claimed(self, folder: str) -> bool:
        """Whether a process has claimed a folder, or a part of its work; nothing is written.

        Raises:
            StoreError: that cannot be read.
        """

    def claim(self, folder: str, part: str = "", wait: bool = False) -> AbstractContextManager[bool]:
        """Keep other processes out of a folder, which is cleared of half-written files; yields whether that worked.

        Those with different parts do not exclude each other, but each excludes the whole. Both take their own lock
        first and then look for the other's, so that at least one of them sees the other.

        Args:
            folder: which is made if it is missing.
            part: the name of a part of its work; empty for the whole.
            wait: wait for another process that has it, instead of giving up at once.

        Raises:
            StoreError: the folder cannot be written.
        """
