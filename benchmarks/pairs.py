"""The two networks that a line is drawn between: a fresh draw, and what a few steps of training make of it.

The steps are real, so the weights have moved and the running statistics of BatchNorm are those of images. They are
few, since a walk costs the same wherever it leads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape import data, models
from linescape.data import Dataset
from linescape.engine import operations
from linescape.evaluation import batchnorm
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import Data, Model, Random, ResNet

MADE = Path(__file__).parent / ".pairs"
STEPS, BATCH = 24, 64
RESNET18 = ResNet(18, 64)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two states of a network, and the images that lines between them are measured on.

    Attributes:
        network: in eval mode, at the end.
        start: before training.
        end: after it.
        inputs: normalised images ``(images, channels, height, width)``, float32.
        targets: class numbers ``(images,)``.
        folder: holds ``start.pt``, ``end.pt`` and ``images.pt``, for contenders in other processes.
    """

    network: nn.Module
    start: State
    end: State
    inputs: Tensor
    targets: Tensor
    folder: Path

    @property
    def line(self) -> Line:
        """The line between the two; new each time, as a user would draw it."""
        return Line(self.start, self.end)

    @property
    def operations(self) -> int:
        """Of the network for one image: two for each multiply-add of convolutions and linear layers."""
        with torch.no_grad():
            return operations(lambda: self.network(self.inputs[:1]))


def make(name: str, spec: Model, images: int, size: int = 28, colour: bool = False) -> Pair:
    """Train a pair, or take the one that an earlier run left in `MADE`.

    Args:
        name: of its folder.
        spec: which network.
        images: how many of the test images are measured; they repeat where there are not enough.
        size: side of the images in pixels; above 28 they have a border.
        colour: three channels instead of one, each of another brightness.
    """
    dataset = data.load(Data(size=0 if size >= 28 else size))
    prepare = in_colour(dataset, size) if colour else dataset.normalise

    available = dataset.test.inputs
    chosen = torch.arange(images) % len(available)
    inputs, targets = prepare(available[chosen]), dataset.test.targets[chosen]
    network = models.draw(spec, tuple(inputs.shape[1:]), dataset.classes, Random(), seed=0)
    start = State.from_module(network)
    folder = MADE / name
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "end.pt").exists():
        network.load_state_dict(torch.load(folder / "end.pt", weights_only=True))
    else:
        train(network, prepare(dataset.train.inputs), dataset.train.targets)
        torch.save(network.state_dict(), folder / "end.pt")
    torch.save(start.state_dict(), folder / "start.pt")
    torch.save({"inputs": inputs, "targets": targets}, folder / "images.pt")
    return Pair(network.eval(), start, State.from_module(network), inputs, targets, folder)


def resnet18(images: int) -> Pair:
    """The pair of the larger contests: ResNet-18 of width 64 with BatchNorm, images of 3 x 32 x 32."""
    return make("resnet18", RESNET18, images, size=32, colour=True)


def in_colour(dataset: Dataset, size: int = 32) -> Callable[[Tensor], Tensor]:
    """What makes images of three channels, each of another brightness, with a border up to `size` pixels."""
    border = max(0, size - 28) // 2

    def prepare(pixels: Tensor) -> Tensor:
        grey = F.pad(dataset.normalise(pixels), (border,) * 4, value=float(dataset.normalise(pixels[:1] * 0).min()))
        return torch.cat([grey, 0.8 * grey, 0.6 * grey], 1)

    return prepare


def train(
    network: nn.Module, inputs: Tensor, targets: Tensor, steps: int = STEPS, rate: float = 0.02, seed: int = 0
) -> None:
    """Train by SGD with momentum, and measure the running statistics of BatchNorm anew."""
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    batches = [order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)] for step in range(steps)]
    network.train()
    for batch in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    # After so few steps the running statistics are still half those of the start: they are measured anew.
    for norm in batchnorm.layers(network).values():
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for batch in batches[: STEPS // 4]:
            network(inputs[batch])
