"""Selects examples of large training sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from linescape.data.dataset import rank_in_class

TRAIN = 2000
"""The most training examples that are evaluated: balanced over classes, or equally spaced."""

Read = tuple[Mapping[str, Any], tuple[str, ...]]
"""Name -> data as `Evaluator` takes them, and notes for the user."""


def by_class(name: str, labels: np.ndarray) -> np.ndarray:
    """Ascending indices ``(n,)`` of the examples to evaluate: of ``train`` at most `TRAIN`, balanced over classes."""
    if name != "train" or len(labels) <= TRAIN:
        return np.arange(len(labels))
    order = np.argsort(rank_in_class(torch.from_numpy(labels)).numpy(), kind="stable")
    return np.sort(order[:TRAIN])


def spaced(name: str, count: int) -> np.ndarray:
    """As `by_class` for data without classes: equally spaced."""
    if name != "train" or count <= TRAIN:
        return np.arange(count)
    return np.linspace(0, count - 1, TRAIN).round().astype(np.int64)


def noted(name: str, chosen: np.ndarray, count: int) -> tuple[str, ...]:
    """A note if not all examples are evaluated."""
    return (f"{len(chosen):,} of {count:,} examples of {name!r} are measured.",) if len(chosen) < count else ()
