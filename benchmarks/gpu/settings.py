"""Settings of the steps: where to compute, where to write, until when, and at what size."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu"
STATE = ROOT / ".gpu"


@dataclass(frozen=True)
class Size:
    """How much a step does.

    Attributes:
        width: of the ResNet-18 whose lines are measured.
        images: that a whole line is measured on; `layer_images`: that each layer-wise line is.
        checked: images of a line that are compared with float64.
        alphas: positions of a line.
        rounds: of each comparison.
        small_images: that lines of small networks, with and without captures, are measured on.
        together_images: that several small networks are called with at once.
        at_once: how many of these in a call.
        training: width of a ResNet-18 -> steps of a round of training.
        arms: of the study, in this order within a seed.
        seeds: of the study, first to last.
    """

    width: int
    images: int
    layer_images: int
    checked: int
    alphas: int
    rounds: int
    small_images: int
    together_images: int
    at_once: tuple[int, ...]
    training: dict[int, int]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]


ARMS = ("base", "partial-1", "partial-2", "partial-3", "partial-4", "no-weight-decay", "adversarial")
FULL = Size(
    width=64,
    images=10_000,
    layer_images=2500,
    checked=1000,
    alphas=50,
    rounds=3,
    small_images=2000,
    together_images=1000,
    at_once=(5, 25, 50),
    training={16: 200, 64: 200},
    arms=ARMS,
    seeds=(0, 1, 2),
)
TOY = Size(
    width=4,
    images=8,
    layer_images=6,
    checked=4,
    alphas=5,
    rounds=1,
    small_images=6,
    together_images=4,
    at_once=(2, 5),
    training={4: 1},
    arms=ARMS,
    seeds=(0,),
)


@dataclass(frozen=True)
class Settings:
    """Of one call.

    Attributes:
        device: ``cuda`` or ``cpu``.
        toy: everything at toy size, to know that it works.
        state: folder that survives between calls: the store of the study, unpacked data, compiled code.
        out: folder of the results of this device.
        ends: `time.monotonic` at which the call is to end.
        size: how much is done.
    """

    device: str
    toy: bool
    state: Path
    out: Path
    ends: float
    size: Size

    @property
    def seconds_left(self) -> float:
        return self.ends - time.monotonic()


def device_name(device: str) -> str:
    """The device's name as its driver gives it; ``cpu`` without one."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def slug(name: str) -> str:
    """A name as a folder's: ``NVIDIA H100 80GB HBM3`` -> ``nvidia-h100-80gb-hbm3``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
