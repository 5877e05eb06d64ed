"""Which examples are measured, where there are many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from linescape.data.dataset import rank_in_class

TRAIN = 2000
"""Examples of training data that are measured at most: as many of each class, or equally spaced."""

Read = tuple[Mapping[str, Any], tuple[str, ...]]
"""Name -> what an `Evaluator` takes, and notes on what was decided."""


def by_class(name: str, labels: np.ndarray) -> np.ndarray:
    """Which examples of a split are measured ``(n,)``, rising: of ``train`` at most `TRAIN`, as many of each class."""
    if name != "train" or len(labels) <= TRAIN:
        return np.arange(len(labels))
    order = np.argsort(rank_in_class(torch.from_numpy(labels)).numpy(), kind="stable")
    return np.sort(order[:TRAIN])


def spaced(name: str, count: int) -> np.ndarray:
    """The same where there are no classes: equally spaced."""
    if name != "train" or count <= TRAIN:
        return np.arange(count)
    return np.linspace(0, count - 1, TRAIN).round().astype(np.int64)


def noted(name: str, chosen: np.ndarray, count: int) -> tuple[str, ...]:
    """A note where not all examples are measured."""
    return (f"{len(chosen):,} of {count:,} examples of {name!r} are measured.",) if len(chosen) < count else ()
