"""ResNet-18 in plain torch with torchvision's names and a stem for small images.

The peers' environments hold nothing of linescape, so the network is written out here. `benchmarks.lines` checks that
it gives linescape's logits.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            blocks = Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return cast(Tensor, self.fc(x.mean((2, 3))))


def of_state(tensors: dict[str, Tensor]) -> ResNet18:
    """The network that a state dict belongs to, with its values, in eval mode."""
    width, channels = tensors["conv1.weight"].shape[:2]
    network = ResNet18(width, channels, len(tensors["fc.bias"]))
    network.load_state_dict(tensors)
    return network.eval()
