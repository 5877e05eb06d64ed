"""Where and with what a task is done, and what it is done on: the data, and an evaluator of them.

On the CPU a task computes with one thread. So its bits do not depend on the number of cores, and small networks lose
nothing: more threads than idle cores make them ten times slower. Cores serve tasks side by side: see `work`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from linescape import data, models
from linescape.data import Dataset
from linescape.engine import arithmetic_digest, compiler, library_digest, memory, threads
from linescape.evaluation.evaluator import Evaluator
from linescape.recipe import Data, Recipe
from linescape.studies.store import Store
from linescape.training.loop import memory_layout
from linescape.version import VERSION

CPU_MEMORY = 5e8
"""Bytes of activations that one line may keep on the CPU, where as many lines are walked at once as there are cores."""

GPU_SHARE = 1 / 16
"""Share of a GPU's memory that a line may take for them: with 8 GB as much as on the CPU."""

Report = Callable[[float], None]
"""A function that gets the share of a task that is done, from 0 to 1."""


@dataclass(frozen=True)
class Job:
    """Where and with what a task is done, since when, and who is told how far it is."""

    store: Store
    device: str
    report: Report
    conditions: Mapping[str, Any]
    started: float

    def record(self, native: bool = False, remarks: Sequence[str] = ()) -> dict[str, Any]:
        """What a result notes of how it was made; `native`: the compiled library was used."""
        return {
            **self.conditions,
            "native_library": self.conditions["native_library"] if native else None,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.started, 3),
            **({"remarks": remarks} if remarks else {}),
        }


class Declined(Exception):  # noqa: N818 - not an error
    """A task cannot be done, and that is a result."""


def conditions(device: str) -> dict[str, Any]:
    """What may decide the last bits of what a device computes here; what is half done is not continued with others."""
    on_gpu = torch.device(device).type == "cuda"
    library = None if on_gpu else library_digest()  # with which the CPU walks lines with other last bits
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else device,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "arithmetic": None if on_gpu else arithmetic_digest(),
        "compiler": compiler() is not None if on_gpu else library is not None,
        "native_library": library,
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:
    return {
        "linescape": VERSION,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def one_thread(device: str) -> AbstractContextManager[None]:
    """A context in which torch computes on the CPU with one thread; from now on the process keeps memory it frees."""
    memory.keep()
    return threads.using(1 if device == "cpu" else torch.get_num_threads())


@lru_cache(maxsize=2)
def load(spec: Data, seed: int) -> Dataset:
    """A recipe's data; the last two are cached, since a training and its lines follow each other."""
    return data.load(spec, seed)


def measuring(
    network: nn.Module, dataset: Dataset, device: str, train_examples: int | None = None, test_examples: int | None = 0
) -> Evaluator:
    """An evaluator of a data set.

    Args:
        network: its values do not count; it is put on the device, and copied there.
        dataset: what is measured on, normalised.
        device: where to measure.
        train_examples: class-balanced training examples, 0 for all; None measures none.
        test_examples: class-balanced test examples, likewise.
    """
    wanted = {"train": (dataset.train, train_examples), "test": (dataset.test, test_examples)}
    splits = {name: half.take(count) for name, (half, count) in wanted.items() if count is not None}
    layout = memory_layout(dataset)
    # Put on the device once, not at each position.
    measured = {
        name: (dataset.normalise(split.inputs.to(device)).contiguous(memory_format=layout), split.targets.to(device))
        for name, split in splits.items()
    }
    placed = network.to(device, memory_format=layout)  # type: ignore[call-overload]
    on_gpu = torch.device(device).type == "cuda"
    memory = GPU_SHARE * torch.cuda.get_device_properties(device).total_memory if on_gpu else CPU_MEMORY
    return Evaluator(placed, measured, memory=memory)


def check_network(recipe: Recipe, network: nn.Module, dataset: Dataset) -> None:
    """Raise `RecipeError` if a network is not one for these data."""
    models.check(recipe.model, network, dataset.normalise(dataset.train.inputs[:4]), dataset.classes)
