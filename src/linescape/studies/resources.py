"""What a unit of work needs of a machine, estimated from what is counted: cores, a share of a GPU, memory."""

from __future__ import annotations

import math
from contextlib import suppress

import msgspec
import torch

from linescape import data, models
from linescape.studies.costs import approximate
from linescape.studies.job import CPU_MEMORY
from linescape.studies.tasks import Task

PROCESS = 0.3e9
"""Bytes of a process that has loaded torch, before it has done anything."""

WORKING = 1e9
"""Bytes that are set aside for what a batch leaves on its way through a network, forward and back."""

COPIES = 8
"""Copies of a network's weights: both ends, the network, a working copy, gradients, the optimizer's."""

SMALL_GPU = 8e9
"""Bytes of the GPU of which a share is reckoned; larger ones have room to spare."""

PART = 15.0
"""Counted seconds of a part of a walk, at least: each part also loads data and prepares its network."""


class Resources(msgspec.Struct, frozen=True):
    """What a unit needs.

    Attributes:
        cores: of the CPU. One, as a task computes with one thread, see `linescape.studies.job`.
        gpu: share of a GPU, in quarters; 0 on the CPU.
        bytes: main memory, rounded up to 0.5 GB.
    """

    cores: int
    gpu: float
    bytes: int


def needed(task: Task, device: str) -> Resources:
    """What a task needs on a device; where its recipe is impossible, which it will say, as little as any."""
    recipe, used = task.recipe, WORKING + CPU_MEMORY
    with suppress(Exception):
        known = data.stored(recipe.data)
        network = models.outline(recipe.model, *data.form(recipe.data))
        used += COPIES * sum(value.numel() * value.element_size() for value in network.state_dict().values())
        pixels = sum(known.examples) * math.prod(known.shape)
        used += (1 + 4 + 4) * pixels  # as stored, normalised, and a copy in another order
    gpu = math.ceil(4 * min(used / SMALL_GPU, 1.0)) / 4 if torch.device(device).type == "cuda" else 0.0
    return Resources(1, gpu, math.ceil((PROCESS + used) / 0.5e9) * 500_000_000)


def parts(task: Task, device: str) -> int:
    """Into how many parts a task may be cut: 1 for all but long ones.

    It follows from the task and the kind of device alone, so that all processes of a store cut it in the same way.
    """
    with suppress(Exception):
        return max(1, min(task.pieces, int(approximate(task, torch.device(device).type) // PART)))
    return 1
