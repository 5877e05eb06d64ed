"""How many threads suit a network on the CPU, and how many processes a study.

A network gets one thread for so many operations of a call, and no more than there are. This follows from counted
operations, not from timing, so that the same walk uses the same number of threads on all machines with as many cores,
busy or idle, and gives the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

EACH = 2e7
"""Operations of one call for each thread; see `suitable`."""


def suitable(operations: float) -> int:
    """Threads for calls of so many operations each: one for every `EACH`, at least 1, at most as many as torch has.

    On two idle cores two threads are 1.5 to 1.9 times as fast from twice `EACH` on, half a millisecond of one core, and
    gain little below (dev/LOG.md, 2026-11-28). The threads of an operation wait for each other: where other programs
    use all cores, several threads are slower than one.
    """
    return max(1, min(torch.get_num_threads(), int(operations // EACH)))


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
