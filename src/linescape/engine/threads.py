"""How many threads suit a network on the CPU, and how many processes a study.

The threads of one operation wait for each other, many times a pass. On idle cores that costs little. Where another
program uses a core, each wait may take as long as that program's turn, tens of milliseconds, and a pass that is short
without it becomes many times as long. So a network uses several threads only where a pass takes long by itself. That is
told by counting operations, not by timing: one walk uses the same number of threads, and so gives the same bits, on all
machines with as many cores, busy or idle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

LARGE = 4e10
"""Operations of one call from which on several threads are used; see `suitable`."""


def suitable(operations: float) -> int:
    """Threads for calls of so many operations each: torch's present number from `LARGE` on, otherwise 1.

    Measured on two cores, idle and with other programs on both (dev/LOG.md, 2026-11-28). Below `LARGE`, a busy machine
    costs two threads more than an idle one gives them.
    """
    return torch.get_num_threads() if operations >= LARGE else 1


def cores(device: str) -> int:
    """Processes that pay: one for each core that this process may use, and one on a GPU."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def using(count: int) -> Iterator[None]:
    """Set torch's number of threads, and set it back."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
