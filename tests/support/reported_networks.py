"""Networks whose copy does not simply answer as the network does."""

# mypy: disable-error-code="misc, no-untyped-call"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

import linescape as ls
from tests.support.situations import Case, anew, command, cross_entropy, examples, pair, saved, situation, walked


class LoRALinear(nn.Linear):
    """Merges its update into its weight when training is switched off."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.A, self.B = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))
        self.merged = False

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        if mode and self.merged:
            self.weight.data -= self.B.data @ self.A.data
        if not mode and not self.merged:
            self.weight.data += self.B.data @ self.A.data
        self.merged = not mode
        return self

    def forward(self, x: Any) -> Any:
        out = F.linear(x, self.weight, self.bias)
        return out if self.merged else out + x @ self.A.T @ self.B.T


@situation
def lora_merged_by_eval(_folder: Path) -> Iterator[Case]:
    def make() -> nn.Module:
        return LoRALinear(6, 3)

    start, end = pair(make)
    end.weight.data.copy_(start.weight.data)
    data = examples()
    expected = anew(make, start, end, cross_entropy(*data))
    yield Case("both in train mode", lambda: walked(start, end, data), expected)
    merged, other = pair(make)
    merged.eval()
    expected = anew(make, merged, other, cross_entropy(*data))
    yield Case("one of them in eval mode", lambda: walked(merged, other, data), expected, "noted")


@situation
def weight_norm_after_a_training_step(_folder: Path) -> Iterator[Case]:
    def normed() -> nn.Module:
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))

    def pruned() -> nn.Module:
        network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        prune.l1_unstructured(network[0], "weight", 0.5)
        return network

    data = examples()
    for make in (normed, pruned):
        start, end = pair(make)
        for network in (start, end):
            F.cross_entropy(network(data[0]), data[1]).backward()
        yield Case(
            make.__name__, lambda a=start, b=end: walked(a, b, data), anew(make, start, end, cross_entropy(*data))
        )


class Force(nn.Module):
    """Differentiates its energy inside forward."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Any) -> Any:
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_(True)
            return -torch.autograd.grad(self.energy(x).sum(), x)[0]


@situation
def gradient_in_forward(_folder: Path) -> Iterator[Case]:
    start, end = pair(Force)
    inputs, targets = examples()[0], torch.randn(40, 6)
    expected = anew(Force, start, end, lambda net: (net(inputs.double()) - targets).square().sum(1).mean())
    for copy in (True, False):
        yield Case(
            f"copy={copy}",
            lambda copy=copy: walked(
                start, end, (inputs, targets), "squared_error", measures=[ls.squared_error], copy=copy
            ),
            expected,
        )


@situation
def negative_running_variance(folder: Path) -> Iterator[Case]:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    start, end = pair(make)
    start[1].running_var.fill_(1.0)
    end[1].running_var.fill_(0.1)
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))

    def beyond() -> tuple[Any, list[str]]:
        curve = ls.scan(line, ls.Evaluator(start, {"test": examples()}), ls.ScanOptions(alphas=[0, 0.5, 1, 1.05, 1.5]))
        return curve["test", "cross_entropy"].mean, curve.provenance["notes"]

    yield Case("a walk beyond the end", beyond, None)
    files = [saved(network, folder / f"{i}.pt") for i, network in enumerate((start, end))]
    yield Case("average", lambda: command("average", *files, "--alpha", 1.5, "-o", folder / "c.pt"), None)


class Overwriting(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.head = way, nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        if self.way == "scaled":
            x.mul_(0.5).sub_(1)
        else:
            x.relu_()
        return self.head(x)


@situation
def forward_writes_to_its_input(_folder: Path) -> Iterator[Case]:
    for way in ("scaled", "relu"):

        def make(way: str = way) -> nn.Module:
            return Overwriting(way)

        start, end = pair(make)
        inputs, targets = examples()
        before = inputs.clone()
        expected = anew(make, start, end, lambda net: F.cross_entropy(net(before.double().clone()), targets))
        for form, data in (("tensors", (inputs, targets)), ("batches", [(inputs, targets)])):
            yield Case(f"{way}, {form}", lambda a=start, b=end, data=data: walked(a, b, data), expected)
            yield Case(f"{way}, {form}: data stay", lambda: ([float((inputs - before).abs().max())], []), [0.0])


class Cached(nn.Linear):
    """Keeps the inverse of its weight while in eval mode."""

    cache = None

    def train(self, mode: bool = True) -> Any:
        self.cache = None
        return super().train(mode)

    def forward(self, x: Any) -> Any:
        if self.training or self.cache is None:
            self.cache = torch.linalg.inv(self.weight.detach())
        return F.linear(x, self.cache, self.bias)


@situation
def cache_in_eval(_folder: Path) -> Iterator[Case]:
    def make() -> nn.Module:
        return Cached(4, 4)

    start, end = pair(make)
    data = examples(4, 4)
    expected = anew(make, start, end, cross_entropy(*data))
    for fast in (None, True):
        yield Case(f"fast={fast}", lambda fast=fast: walked(start, end, data, fast=fast), expected)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        return self.head(F.dropout(self.first(x).relu(), 0.5))


@situation
def dropout_in_eval(_folder: Path) -> Iterator[Case]:
    start, end = pair(Dropping)
    for count in (60, 600):
        for fast in (None, True):
            data = examples(count=count)
            yield Case(
                f"{count} examples, fast={fast}",
                lambda data=data, fast=fast: walked(start, end, data, fast=fast),
                None,
            )


@situation
def spectral_norm(_folder: Path) -> Iterator[Case]:
    forms = {
        "hook": nn.utils.spectral_norm,
        "parametrization": parametrizations.spectral_norm,
        "weight_norm": parametrizations.weight_norm,
    }
    inputs, targets = examples(16)
    for name, wrap in forms.items():

        def make(wrap: Any = wrap) -> nn.Module:
            layers = [layer for _ in range(3) for layer in (wrap(nn.Linear(16, 16)), nn.LeakyReLU(0.2))]
            return nn.Sequential(*layers, nn.Linear(16, 3))

        start, end = pair(make)
        for network in (start, end):  # until the vectors are those of the weights
            with torch.no_grad():
                for _ in range(300):
                    network(inputs)
            network.eval()

        def loss(network: Any) -> Any:
            network.train()
            for _ in range(300):
                network(inputs.double())
            return F.cross_entropy(network.eval()(inputs.double()), targets)

        expected = anew(make, start, end, loss)
        for fast in (None, True):
            yield Case(
                f"{name}, fast={fast}",
                lambda a=start, b=end, fast=fast: walked(a, b, (inputs, targets), fast=fast),
                expected,
            )
