"""A walk with the engine against one by plain calls, over many kinds of networks, data and lines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from linescape import batchnorm, models, recipe
from linescape.curve import Curve
from linescape.engine import operations, winograd
from linescape.engine.fast import Fast
from linescape.evaluate import Evaluator
from linescape.measure import cross_entropy, error, squared_error
from linescape.paths import Bend, Line, Only, Path, Ray
from linescape.scan import collect, scan, walk
from linescape.space import State

Batch = tuple[Tensor, ...]
ALPHAS = (0.0, 0.4, 1.0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(count: int, classes: int = 3) -> Tensor:
    return torch.randint(0, classes, (count,), generator=torch.Generator().manual_seed(5))


def tokens(*shape: int, kinds: int = 11) -> Tensor:
    return torch.randint(0, kinds, shape, generator=torch.Generator().manual_seed(6))


def state(net: nn.Module, seed: int, call: Callable[[nn.Module], object] = lambda net: None) -> State:
    """Weights of the network's own size, drawn, and running statistics from a few calls."""
    net = copy.deepcopy(net)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for value in net.parameters():
            if value.ndim > 1:
                value.copy_(torch.randn_like(value) * max(float(value.float().std()), 0.1))
            else:
                value.add_(torch.randn_like(value) * 0.2)
        net.train()
        for _ in range(3):
            call(net)
    return State.of(net)


def line_of(net: nn.Module, *inputs: Tensor) -> Line:
    few = [x[:24] + (0.1 * x.std() if x.is_floating_point() else 0) for x in inputs]
    return Line(*(state(net, seed, lambda net: net(*few)) for seed in (1, 2)))


def lines(net: nn.Module, whole: Line) -> dict[str, Path]:
    """The whole line, and those of each block alone."""
    blocks = dict.fromkeys(name.split(".")[0] for name in whole.moving)
    alone = {block: Only(whole, [name for name in whole.end if name.split(".")[0] == block]) for block in blocks}
    return {"whole": whole, **alone}


def assert_close(found: Curve, expected: Curve, relative: float = 1e-5) -> None:
    """Means within `relative`, and each example within ten times that."""
    assert found.values.keys() == expected.values.keys()
    for key, values in expected.values.items():
        with np.errstate(invalid="ignore"):
            means = found.values[key].mean(1, dtype=float), values.mean(1, dtype=float)
        np.testing.assert_allclose(*means, relative, err_msg=str(key))
        largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        np.testing.assert_allclose(found.values[key], values, 10 * relative, 10 * relative * largest, err_msg=str(key))


def compared(path: Path, net: nn.Module, data: Any, relative: float = 1e-5, **options: Any) -> Curve:
    """The curve with the engine, once it is that of plain calls."""
    alphas = options.pop("alphas", ALPHAS)
    plain, fast = (Evaluator(net, {"d": data}, fast=fast, **options) for fast in (False, True))
    found = scan(path, fast, alphas)
    assert_close(found, scan(path, plain, alphas), relative)
    return found


def noted(curve: Curve) -> list[str]:
    return [note for note in curve.provenance["notes"] if "as it is" in note]


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
    return nn.utils.parametrizations.weight_norm(layer)


IMAGES, VECTORS, SOUNDS, TEXT = drawn(40, 2, 8, 8), drawn(40, 12), drawn(40, 2, 20), tokens(40, 5)

NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "MLP": (built(recipe.MLP((16, 16))), IMAGES),
    "MLP with BatchNorm": (built(recipe.MLP((16, 16), norm="batch")), IMAGES),
    "MLP with LayerNorm": (built(recipe.MLP((16, 16), "tanh", norm="layer")), IMAGES),
    "LeNet": (built(recipe.LeNet(), 28, 1), drawn(40, 1, 28, 28)),
    "ResNet": (built(recipe.ResNet(8, 4)), IMAGES),
    "ResNet without skips": (built(recipe.ResNet(8, 4, skips=False)), IMAGES),
    "ResNet with groups": (built(recipe.ResNet(8, 8, norm="group")), IMAGES),
    "ResNet without norm": (built(recipe.ResNet(8, 4, norm="none")), IMAGES),
    "ResNet without norm and skips": (built(recipe.ResNet(8, 4, norm="none", skips=False)), IMAGES),
    "ResNet with bottlenecks": (built(recipe.ResNet(50, 2)), IMAGES),
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


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_gives_the_curve_of_plain_calls(name: str) -> None:
    build, inputs = NETWORKS[name]
    net = build().eval()
    net(inputs[:2])
    whole = line_of(net, inputs)
    data = {"train": (inputs, labels(40)), "test": (inputs[30:39], labels(9))}
    plain, fast = (Evaluator(net, data, batch_size=16, fast=fast) for fast in (False, True))
    for where, path in lines(net, whole).items():
        expected, found = (scan(path, ev, ALPHAS, batchnorm.TREATMENTS) for ev in (plain, fast))
        assert not noted(found), where
        assert fast.engine.cuts, where
        assert_close(found, expected)
