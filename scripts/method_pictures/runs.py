"""The lines that the pictures show: small networks on the embedded images, each trained once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import linescape as ls
from linescape import shape
from scripts.draw_curves import DATA, network, rescaled, train

POSITIONS = 41
Data = Mapping[str, tuple[Tensor, Tensor]]
Ends = tuple[nn.Module, nn.Module]


def measured(ends: Ends, positions: int = POSITIONS, data: Data = DATA, **options: Any) -> ls.Curve:
    """Loss and error on the test data along the line between two networks."""
    kept = data if "batchnorm" in options else {"test": data["test"]}
    evaluator = ls.Evaluator(ends[1], kept, ["cross_entropy", "error"])
    return ls.scan(ls.Line(*ends), evaluator, ls.ScanOptions(alphas=positions, **options))


def statistic(name: str, curve: ls.Curve) -> float:
    """A statistic of the test loss, or of the error where it is of that."""
    series = curve["test", "error" if name == "plateau_error" else "cross_entropy"]
    chance = {"plateau_loss": (float(torch.tensor(10.0).log()),), "plateau_error": (90.0,)}.get(name, ())
    return float(getattr(shape, name)(series.alphas, series.mean, *chance))


def from_start(module: nn.Module, epochs: int, images: int = 5000, lr: float = 1e-3) -> Ends:
    """A network as it is, and after training."""
    return copy.deepcopy(module), train(module, epochs, images, lr)


@cache
def deep_ends() -> Ends:
    """Six hidden layers, from a random start to the end of training."""
    torch.manual_seed(0)
    return from_start(network([64] * 6), 6)


@cache
def deep() -> ls.Curve:
    """The line of `deep_ends`: a plateau and a cliff."""
    return measured(deep_ends())


@cache
def apart() -> ls.Curve:
    """Between two networks trained apart, the second on fewer images and for a shorter time: a hump, unequal ends."""
    torch.manual_seed(0)
    return measured((train(network([128]), 4), train(network([128]), 1, 2000)))


@cache
def overfitted() -> ls.Curve:
    """From a random start to the end of a long training on 300 images: the test loss rises at the end."""
    torch.manual_seed(0)
    return measured(from_start(network([256]), 60, 300, 3e-3))


@cache
def large_start() -> ls.Curve:
    """From a random start with four times the weights, whose loss is high."""
    torch.manual_seed(0)
    module = network([64] * 3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
    return measured(from_start(module, 6))


@cache
def rescaled_ends() -> Ends:
    """One function at two scales: the first layer before a BatchNorm has 100 times the weights."""
    torch.manual_seed(0)
    normed = train(network([64], normed=True), 3)
    return rescaled(normed).eval(), normed.eval()


@cache
def normed_apart(treatments: tuple[str, ...]) -> ls.Curve:
    """Between two networks with BatchNorm that were trained apart, with each treatment of the running statistics."""
    torch.manual_seed(0)
    ends = (train(network([64] * 2, normed=True), 3), train(network([64] * 2, normed=True), 3))
    return measured(ends, 21, batchnorm=list(treatments))


def _unequal(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """All images of two classes, and 8 % of the others'."""
    kept = []
    for label in range(10):
        places = torch.where(labels == label)[0]
        kept.append(places if label < 2 else places[: int(len(places) * 0.08)])
    chosen = torch.cat(kept)
    return inputs[chosen], labels[chosen]


@cache
def _unequal_data() -> Data:
    return {name: _unequal(*split) for name, split in DATA.items()}


def unequal_chance() -> tuple[float, float]:
    """The lowest loss (nats) and error (%) of a constant output on the test data of `unequal`."""
    shares = torch.bincount(_unequal_data()["test"][1], minlength=10).double()
    shares = shares / shares.sum()
    return float(-(shares * shares.log()).sum()), 100 * (1 - float(shares.max()))


@cache
def unequal() -> ls.Curve:
    """From a random start to the end of training, where two of ten classes have three quarters of the images."""
    torch.manual_seed(0)
    few = _unequal_data()
    module = network([64] * 6)
    start = copy.deepcopy(module)
    return measured((start, train(module, 10, data=few["train"])), data=few)


@cache
def by_layer() -> dict[str, ls.Curve]:
    """Of `deep_ends`: the line of the whole network, and of each layer with the others held fixed at the end."""
    start, end = deep_ends()
    evaluator = ls.Evaluator(end, {"test": DATA["test"]}, ["cross_entropy"])
    options, whole = ls.ScanOptions(alphas=21), ls.Line(start, end)
    lines = {str(k): ls.Only(whole, names) for k, names in enumerate(ls.groups.by_block(end).values(), 1)}
    return {name: ls.scan(path, evaluator, options) for name, path in {"whole": whole, **lines}.items()}


@cache
def widths() -> dict[int, Ends]:
    """Start and end of one training for networks of one hidden layer, by its width."""
    pairs = {}
    for width in (16, 64, 256, 1024):
        torch.manual_seed(0)
        pairs[width] = from_start(network([width]), 2)
    return pairs
