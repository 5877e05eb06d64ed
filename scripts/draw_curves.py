"""Draws the pictures of docs/curves.md, `python scripts/draw_curves.py`: small networks on the embedded images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import linescape as ls

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
DATA: Mapping[str, tuple[Tensor, Tensor]] = ls.data.load("fashion-mini").tensors()


def network(widths: Sequence[int], normed: bool = False) -> nn.Sequential:
    """A network of layers of these widths."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in zip((784, *widths), widths, strict=False):
        layers += [nn.Linear(inputs, outputs), *[nn.BatchNorm1d(outputs)] * normed, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def train(
    model: nn.Module,
    epochs: int,
    images: int = 5000,
    lr: float = 1e-3,
    data: tuple[Tensor, Tensor] = DATA["train"],
) -> nn.Module:
    """Train a network in place by Adam; returns it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    inputs, labels = (part[:images] for part in data)
    for batch in torch.split(torch.cat([torch.randperm(len(inputs)) for _ in range(epochs)]), 100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    return model


def rescaled(normed: nn.Module) -> nn.Module:
    """A network of the same function, whose first layer, before a BatchNorm, has 100 times the weights."""
    scaled = copy.deepcopy(normed)
    with torch.no_grad():
        for name, tensor in scaled.state_dict().items():
            if name in ("1.weight", "1.bias", "2.running_mean"):
                tensor.mul_(100)
            elif name == "2.running_var":
                tensor.mul_(100**2)
    return scaled


def line(start: nn.Module, end: nn.Module, **options: Any) -> Any:
    """The curve between two networks on the test data."""
    evaluator = ls.Evaluator(end, DATA if "batchnorm" in options else {"test": DATA["test"]}, ["cross_entropy"])
    return ls.scan(ls.Line(start, end), evaluator, ls.ScanOptions(alphas=41, **options))


def draw(name: str, curve: Any, treatments: Sequence[str] = ("interpolate",), ends: tuple[str, str] = ("", "")) -> None:
    """Write one picture: the test loss along a line."""
    figure = Figure(figsize=(5, 2.6), dpi=144, layout="constrained")
    axes = figure.subplots()
    for treatment in treatments:
        label = treatment if len(treatments) > 1 else None
        series = curve["test", "cross_entropy", treatment]
        finite = np.isfinite(series.mean)
        if not finite.all():
            axes.axvspan(0, series.alphas[~finite].max(), color="0.9", label="not finite")
            axes.set_yscale("log")
            axes.legend(frameon=False)
        axes.plot(
            series.alphas, series.mean, marker=".", ms=4, label=label, ls="-" if treatment == "interpolate" else "--"
        )
    axes.set(xlabel=f"α   (0: {ends[0]}, 1: {ends[1]})", ylabel="test loss, nats", xlim=(-0.02, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    if len(treatments) > 1:
        axes.legend(frameon=False)
    figure.savefig(FIGURES / f"curve-{name}.png")


def main() -> None:
    """Train, measure and draw; under a minute."""
    torch.set_num_threads(1)  # the layers are small
    torch.manual_seed(0)
    deep = network([64] * 6)
    draw("plateau", line(copy.deepcopy(deep), train(deep, 6)), ends=("random start", "end of training"))
    first, second = (train(network([128]), 3) for _ in range(2))
    draw("hump", line(first, second), ends=("one seed", "another"))
    small = network([256])
    draw("tail", line(copy.deepcopy(small), train(small, 60, 300, 3e-3)), ends=("random start", "overfitted end"))
    exploded = copy.deepcopy(deep)
    with torch.no_grad():
        for parameter in exploded.parameters():
            parameter.mul_(1e6)
    draw("nan", line(exploded, deep), ends=("diverged", "trained"))
    normed = train(network([64], normed=True), 3)
    both = ["interpolate", "recalibrate"]
    draw(
        "batchnorm",
        line(rescaled(normed), normed, batchnorm=both),
        both,
        ("100 times the weights", "the same function"),
    )


if __name__ == "__main__":
    main()
