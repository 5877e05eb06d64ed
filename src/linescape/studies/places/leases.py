"""A claim where files cannot be locked: an object that its owner renews, and that ends when it is not renewed.

No clocks of two machines are compared: whoever finds the lease of another process waits until it has not changed for
`EXPIRES` seconds of its own clock, which runs evenly whatever the date does. A process that stood still for longer than
that may go on beside its successor: then work is done twice, which costs time and changes no result.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from linescape.errors import StoreError

BEAT = 10.0
"""Seconds between two renewals."""

EXPIRES = 60.0
"""Seconds without a renewal after which a lease is free."""

POLL = 2.0
"""Seconds between two looks at a lease that is waited for."""


class Objects(Protocol):
    """Where leases lie."""

    def read(self, name: str) -> bytes:
        """The content of an object; `FileNotFoundError` if there is none."""

    def write(self, name: str, content: bytes) -> object:
        """Put an object in place of what is there."""

    def create(self, name: str, content: bytes) -> bool:
        """Put an object if there is none; whether it was put."""

    def delete(self, *names: str) -> None:
        """Remove objects."""


class Leases:
    """The leases that this process has seen, by their names, with the time when each was first seen as it is."""

    def __init__(self, objects: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects, self._clock = objects, clock
        self._seen: dict[str, tuple[bytes, float]] = {}

    def acquire(self, name: str, wait: bool) -> Lease | None:
        """Take a lease that is free or has expired; None if another has it and is not to be waited for.

        Raises:
            StoreError: it cannot be written.
        """
        taken_over = False
        while True:
            lease = Lease(self._objects, name)
            if self._objects.create(name, lease.content()) or self._present(name) == lease.content():
                if taken_over:  # another that saw it expire, too, may be about to remove what is there
                    time.sleep(POLL)
                if not taken_over or self._present(name) == lease.content():
                    self._seen.pop(name, None)
                    lease.keep()
                    return lease
            present = self._present(name)
            if present is None:
                continue  # given back just now; by its removal that of the next would go
            if self._has_expired(name, present):
                self._objects.delete(name)
                taken_over = True
            elif wait:
                time.sleep(POLL)
            else:
                return None

    def is_free(self, name: str) -> bool:
        """Whether nobody has a lease, or nobody renews it.

        Raises:
            StoreError: it cannot be read.
        """
        present = self._present(name)
        return present is None or self._has_expired(name, present)

    def _has_expired(self, name: str, present: bytes) -> bool:
        now = self._clock()
        content, since = self._seen.get(name, (b"", now))
        if content != present:
            self._seen[name] = present, now
            return False
        return now - since >= EXPIRES

    def _present(self, name: str) -> bytes | None:
        try:
            return self._objects.read(name)
        except FileNotFoundError:
            return None


class Lease:
    """One claim of this process, which a thread renews until it is released or another process has taken it."""

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects, self._name, self._beats = objects, name, 0
        self._owner = {"owner": uuid.uuid4().hex, "machine": platform.node(), "process": os.getpid()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {name}", daemon=True)

    def content(self) -> bytes:
        """What its object holds now: the owner, and the number of renewals."""
        return json.dumps({**self._owner, "renewals": self._beats}).encode()

    def keep(self) -> None:
        """Renew it from now on."""
        self._thread.start()

    def release(self) -> None:
        """Give it up."""
        self._ended.set()
        self._thread.join()
        if self._is_ours():
            self._objects.delete(self._name)

    def _renew(self) -> None:
        while not self._ended.wait(BEAT):
            if not self._is_ours():
                return
            self._beats += 1
            try:
                self._objects.write(self._name, self.content())
            except StoreError:
                continue  # the next renewal may reach it

    def _is_ours(self) -> bool:
        """Whether no other process has taken it; yes, too, where that cannot be known now."""
        try:
            return bool(json.loads(self._objects.read(self._name))["owner"] == self._owner["owner"])
        except FileNotFoundError:
            return False
        except StoreError:
            return True
        except (OSError, ValueError, LookupError, TypeError):
            return False
