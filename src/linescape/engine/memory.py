"""What becomes of memory that this process frees, where the C library is glibc (Linux)."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_MOST = 2**31 - 1
_LARGE = 2**22


def keep() -> None:
    """Freed memory stays with the process, so that the large tensors of each step need no new pages.

    glibc returns a freed block of 32 MB or more to the system, and the next tensor of that size gets it again, page by
    page and zeroed. That took 10 % of a training step of ResNet-18 at width 64.
    """
    _set(_MMAP_THRESHOLD, _MOST)
    _set(_TRIM_THRESHOLD, _MOST)


def give_back() -> None:
    """Freed blocks of 4 MB and more go back to the system at once, for networks that fill the memory.

    By itself glibc soon keeps blocks of up to 32 MB. Where weights are converted one after another, small tensors
    settle in the place of the last, which is then too small for the next: two thirds of the size of the weights were
    lost in such gaps.
    """
    _set(_MMAP_THRESHOLD, _LARGE)


def _set(what: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(what, value)
