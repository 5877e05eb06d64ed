"""Small networks that many tests share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linescape.geometry.state import State


class ConvNet(nn.Module):
    """Convolution, BatchNorm, ReLU, pooling, linear: the smallest network with everything that a line must treat."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))
        return out


class Tied(nn.Module):
    """An embedding whose weight is the output layer's too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.inner = nn.Linear(4, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.inner(self.embed(x))))
        return out


def lived_in(module: nn.Module, inputs: Tensor, seed: int) -> State:
    """A state with drawn weights and with running statistics from a few batches."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for value in module.parameters():
            with torch.no_grad():
                value.copy_(torch.randn_like(value) * 0.4)
        module.train()
        with torch.no_grad():
            for _ in range(3):
                module(inputs + 0.1 * torch.randn_like(inputs))
        module.eval()
    return State.from_module(module)
