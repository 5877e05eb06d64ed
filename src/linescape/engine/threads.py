"""How many threads pay for a network on the CPU, and how many processes for a study.

The threads of one operation wait for each other, many times a pass. A narrow network gains little from them, and
where another program uses the cores it loses much: a walk that took 6 s with one thread took 39 s with two (2 cores,
both busy elsewhere). So it is tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_LONG = 0.1
"""Seconds of a call with one thread from which on waiting is a small part of it, and trying costs too much."""

LARGE = 4e10
"""Operations of a call that certainly takes so long, so that nothing need be tried."""

_PAYS = 1.1
"""Times that more threads must be faster: a narrow gain is lost when another program starts."""


def fitting(call: Callable[[], object], small: Callable[[], object], share: float) -> int:
    """Threads for many calls like this one: torch's present number, or 1 where more do not pay; takes some calls.

    `small` is a call with this share of the work: where even that takes long, no others are tried.
    """
    most = torch.get_num_threads()
    if most == 1:
        return 1
    with using(1):
        small()  # the first call also allocates
        if _seconds(small) > share * _LONG:
            return most
        alone = _fastest(call)
    return most if alone > _PAYS * _fastest(call) else 1


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


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _fastest(call: Callable[[], object]) -> float:
    """The least of a few calls, more of short ones: noise only ever adds."""
    took: list[float] = []
    while len(took) < 8 and sum(took) < _LONG / 2:
        took.append(_seconds(call))
    return min(took)
