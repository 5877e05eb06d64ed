"""Networks whose copies do not simply answer as they do; for tests of the working copy."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, CLASSES = 6, 3


class Merging(nn.Module):
    """A convolution with a low-rank update that eval mode adds to the weight, and train mode takes off again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)
        self.down, self.up = nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(4, 2))
        self.head = nn.Linear(4 * (WIDTH - 2), CLASSES)
        self.merged = False

    def update(self) -> Tensor:
        return (self.up @ self.down).unsqueeze(1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        with torch.no_grad():
            if mode and self.merged:
                self.conv.weight -= self.update()
            elif not mode and not self.merged:
                self.conv.weight += self.update()
        self.merged = not mode
        return self

    def forward(self, x: Any) -> Any:
        weight = self.conv.weight if self.merged else self.conv.weight + self.update()
        return self.head(F.conv1d(x.unsqueeze(1), weight, self.conv.bias).relu().flatten(1))


class Remembering(nn.Linear):
    """Keeps its normalised weight in eval mode."""

    kept: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        self.kept = None
        return super().train(mode)

    def forward(self, x: Any) -> Any:
        if self.training:
            return F.linear(x, F.normalize(self.weight), self.bias)
        if self.kept is None:
            self.kept = F.normalize(self.weight)
        return F.linear(x, self.kept, self.bias)


class Uncopyable(nn.Sequential):
    """Holds a lock, which cannot be copied."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, CLASSES))
        self.lock = threading.Lock()

    def forward(self, x: Any) -> Any:
        with self.lock:
            return nn.Sequential.forward(self, x)  # type: ignore[no-untyped-call]


def hooked() -> Any:
    """A hook that adds what another layer of the very network gives."""
    network: Any = nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, CLASSES), nn.Identity())
    network[3].side = side = nn.Linear(WIDTH, CLASSES)

    def add(_module: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> Any:
        return outputs + side(inputs[0])

    network.register_forward_hook(add)
    return network


def rebound() -> Any:
    """Its `forward` is a function of its own layers, as libraries that patch models leave it."""
    network: Any = nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, CLASSES))
    layers = list(network)

    def forward(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return 2 * x

    network.forward = forward
    return network


class Differentiating(nn.Module):
    """Returns the gradient of an energy at its input, and its norm with respect to a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.energy: Any = nn.Sequential(nn.Linear(WIDTH, 8), nn.Softplus(), nn.Linear(8, 1))
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.energy(x)
            force, weight = torch.autograd.grad(energy.sum(), [x, self.energy[0].weight])
        return self.out(force) + weight.norm()


class Drawing(nn.Module):
    """Adds noise from one generator or another, whether it is trained or not."""

    def __init__(self, noise: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, CLASSES), Noisy(noise))

    def forward(self, x: Any) -> Any:
        return self.inner(x)


class Noisy(nn.Module):
    def __init__(self, noise: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x: Any) -> Any:
        return x + self.noise(x)


NOISES: dict[str, Callable[[Tensor], Any]] = {
    "torch": torch.randn_like,
    "dropout": lambda x: F.dropout(x, 0.3),
    "numpy": lambda x: torch.from_numpy(np.random.rand(*x.shape)).float(),  # noqa: NPY002
    "python": lambda _: random.random(),
}


class Overwriting(nn.Module):
    """Normalises its input in place, in the way named."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        if self.way == "view":
            x[:, :2].sub_(1.0)
        elif self.way == "out":
            torch.tanh(x, out=x)
        elif self.way == "rarely":  # changes nothing of the first examples
            x.clamp_(max=100.0)
        return self.head(x)


class Listed(nn.Module):
    """Has layers in a plain list and in a dictionary, which no state dict holds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)]
        self.by_name = {"extra": nn.Linear(WIDTH, WIDTH)}
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        for layer in (*self.layers, *self.by_name.values()):
            x = layer(x).tanh()
        return self.head(x)


class Scaled(nn.Module):
    """Depends on a buffer that is not saved and on a number."""

    def __init__(self, scale: float, temperature: float) -> None:
        super().__init__()
        self.scale: Any
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.temperature = temperature
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(x * self.scale) / self.temperature


class Counting(nn.Module):
    """Counts its calls in a buffer, and its outputs grow with it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Any
        self.register_buffer("calls", torch.zeros(()))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.head(x) * self.calls
