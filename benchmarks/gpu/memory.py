"""The most memory of a GPU that a contender takes, with the weights and images that are there for all."""

from __future__ import annotations

import torch

from benchmarks.contest import Contender, Walk


def watched(contender: Contender, device: str, peaks: list[int]) -> Contender:
    """A contender whose peaks, in bytes that torch allocated, are added to a list; nothing is without a GPU."""
    if device != "cuda":
        return contender

    def walk(alphas: int) -> Walk:
        torch.cuda.reset_peak_memory_stats()
        found = contender(alphas)
        peaks.append(torch.cuda.max_memory_allocated())
        return found

    return walk
