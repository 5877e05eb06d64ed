"""Networks that the engine must take as graphs, each with something that is easily computed wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape import models, recipe
from linescape.geometry.paths import Line
from tests.support.engine import Batch, drawn, labels, line_of, tokens


class Preact(nn.Module):
    """BatchNorm before each convolution; one convolution's result is read by its norm and by the addition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.bn1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        out: Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return out


class InPlace(nn.Module):
    """Residual additions and activations that write over their input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.gain = nn.Parameter(torch.ones(6, 1, 1))
        self.relu, self.relu6, self.fc = nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(x))
        out += x
        out = self.relu6(out)
        out *= self.gain
        logits: Tensor = self.fc(F.relu_(out).mean((2, 3)))
        return logits


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner = nn.Embedding(11, 6), nn.Linear(6, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.inner(self.embed(x))).mean(1))
        return out


class OneWeight(nn.Module):
    """One convolution twice, a weight that is a view of another, constants in the code, additions of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other, self.fc = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, 3)
        self.other.weight = nn.Parameter(self.conv.weight.detach())
        self.scale = torch.tensor([0.5, 2.0]).view(1, 2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.relu(self.conv(x) + x.shape[1])) * self.scale + torch.tensor(0.25)
        x = 2 + self.other(x).add(x, alpha=0.5)
        out: Tensor = self.fc(x.view(x.size(0), 2, -1).mean(-1))
        return out


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


def built(model: recipe.Model, side: int = 8, channels: int = 2) -> Callable[[], nn.Module]:
    return lambda: models.build(model, (channels, side, side), 3)


def normed(layer: nn.Module) -> nn.Module:
    found: nn.Module = nn.utils.parametrizations.weight_norm(layer)
    return found


IMAGES, VECTORS, SOUNDS, TEXT = drawn(40, 2, 8, 8), drawn(40, 12), drawn(40, 2, 20), tokens(40, 5)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "MLP": (built(recipe.MLP((16, 16))), IMAGES),
    "MLP with BatchNorm": (built(recipe.MLP((16, 16), norm="batch")), IMAGES),
    "MLP with LayerNorm": (built(recipe.MLP((16, 16), "tanh", norm="layer")), IMAGES),
    "LSTM": (built(recipe.LSTM(6, 2)), IMAGES),
    "maxout": (built(recipe.MLP((8, 4), "maxout", pieces=3)), IMAGES),
    "LeNet": (built(recipe.LeNet(), 28, 1), drawn(40, 1, 28, 28)),
    "ResNet": (built(recipe.ResNet(8, 4)), IMAGES),
    "ResNet with groups": (built(recipe.ResNet(8, 8, norm="group")), IMAGES),
    "ResNet without norm": (built(recipe.ResNet(8, 4, norm="none")), IMAGES),
    "ResNet without skips": (built(recipe.ResNet(8, 4, norm="none", skips=False)), IMAGES),
    "VGG": (built(recipe.VGG(11, 4), 32), drawn(40, 2, 32, 32)),
    "pre-activation": (Preact, IMAGES),
    "in place": (InPlace, IMAGES),
    "tied": (Tied, TEXT),
    "one weight": (OneWeight, IMAGES),
    "bias before BatchNorm": (lambda: sequence(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)), IMAGES),
    "depthwise": (lambda: sequence(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)), IMAGES),
    "dilated": (lambda: sequence(nn.Conv2d(2, 6, (3, 2), (2, 1), (1, 2), (1, 2)), nn.BatchNorm2d(6)), IMAGES),
    "same": (lambda: sequence(nn.Conv2d(2, 6, 3, padding="same"), nn.BatchNorm2d(6)), IMAGES),
    "circular": (lambda: sequence(nn.Conv2d(2, 6, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(6)), IMAGES),
    "transposed": (lambda: sequence(nn.ConvTranspose2d(2, 6, 3, 2), nn.BatchNorm2d(6)), IMAGES),
    "without scale": (lambda: sequence(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6, affine=False)), IMAGES),
    "weight norm": (lambda: sequence(normed(nn.Conv2d(2, 6, 3)), nn.BatchNorm2d(6)), IMAGES),
    "dropout": (lambda: sequence(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5)), IMAGES),
    "one axis": (
        lambda: nn.Sequential(nn.Conv1d(2, 6, 5), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)),
        SOUNDS,
    ),
    "linear before BatchNorm": (
        lambda: nn.Sequential(nn.Linear(12, 6, bias=False), nn.BatchNorm1d(6), nn.Sigmoid(), nn.Linear(6, 3)),
        VECTORS,
    ),
    "linear on sequences before BatchNorm": (
        lambda: nn.Sequential(nn.Linear(20, 2), nn.BatchNorm1d(2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)),
        SOUNDS,
    ),
}


class Padded(nn.Module):
    """Looks at the sides of its images and holds its parts by a list, which `torch.fx` cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 3)
        self.parts = ["conv", "bn"]

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2 == 0 and x.mean((2, 3)).ndim == 2:
            x = F.pad(x, (0, 1, 0, 1))
        for part in self.parts:
            x = getattr(self, part)(x)
        out: Tensor = self.fc(F.relu6(x).mean((2, 3)))
        return out


def wide(side: int, examples: int = 6) -> tuple[nn.Module, Tensor]:
    """Convolutions of many channels, one with bias and ReLU, one with an addition, on small images."""

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.fc = nn.Conv2d(2, 256, 1), nn.Linear(256, 3)
            self.conv1, self.bn1 = nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256)
            self.conv2 = nn.Conv2d(256, 256, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            out: Tensor = self.fc(F.relu(x + self.conv2(F.relu(self.bn1(self.conv1(x))))).mean((2, 3)))
            return out

    torch.manual_seed(0)
    return Wide().eval(), drawn(examples, 2, side, side)


def small() -> tuple[nn.Module, Line, Batch]:
    torch.manual_seed(0)
    net = Preact().eval()
    return net, line_of(net, IMAGES), (IMAGES, labels(40))


WIDE: Callable[[], nn.Module] = lambda: wide(8)[0]  # noqa: E731


class Head(nn.Module):
    """Two linear layers with something between; the forms that follow differ in how they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 8), nn.Linear(8, 3)

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Any:
        return self.fc2(self.between(torch.tanh(self.fc1(x))))


class Branching(Head):
    def between(self, x: Tensor) -> Tensor:
        return x.relu() if x.sum() > 0 else x


class Masked(nn.Module):
    """An encoder of sequences with a padding mask, called by names in another order than its arguments."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.embed, self.encoder = nn.Embedding(11, 8), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc = nn.Linear(8, 3)

    def forward(self, words: Tensor, mask: Tensor | None = None) -> Tensor:
        padding = None if mask is None else mask == 0
        x = self.encoder(self.embed(words), src_key_padding_mask=padding)
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        out: Tensor = self.fc(x.mean(1))
        return out


def masked(count: int, length: int) -> dict[str, Tensor]:
    lengths = torch.arange(count) % length + 1
    return {
        "mask": (torch.arange(length) < lengths.unsqueeze(1)).long(),
        "words": tokens(count, length),
        "labels": labels(count),
    }


class Writer(nn.Module):
    """A small causal language model, its embedding tied with its head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(11, 16), nn.Embedding(8, 16)
        self.blocks = nn.ModuleList(nn.ModuleDict(self.block()) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 11, bias=False)
        self.head.weight = self.embed.weight

    @staticmethod
    def block() -> dict[str, nn.Module]:
        return {
            "norm1": nn.LayerNorm(16), "attend": nn.Linear(16, 48), "mix": nn.Linear(16, 16),
            "norm2": nn.LayerNorm(16), "up": nn.Linear(16, 32), "down": nn.Linear(32, 16), "drop": nn.Dropout(0.1),
        }  # fmt: skip

    def forward(self, words: Tensor) -> Tensor:
        count, length = words.shape
        x = self.embed(words) + self.places(torch.arange(length, device=words.device))
        for block in self.blocks:
            parts: Any = block
            three = parts["attend"](parts["norm1"](x)).view(count, length, 3, 2, 8).permute(2, 0, 3, 1, 4)
            read = F.scaled_dot_product_attention(three[0], three[1], three[2], is_causal=True)
            x = x + parts["drop"](parts["mix"](read.transpose(1, 2).reshape(count, length, 16)))
            x = x + parts["drop"](parts["down"](F.gelu(parts["up"](parts["norm2"](x)))))
        out: Tensor = self.head(self.norm(x))
        return out


class Switched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, twice: bool = False, scale: float = 1.0) -> Tensor:
        hidden = self.first(x).relu()
        out: Tensor = self.second(hidden * 2 if twice else hidden) * scale
        return out
