"""Networks that nobody has reported yet, looked for after all that was reported had been mended."""

# mypy: disable-error-code="union-attr, assignment, arg-type, misc, no-untyped-call, attr-defined, no-any-return"

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

import linescape as ls
from tests.support.further_networks import Body, right
from tests.support.situations import ALPHAS, Answer, Case, anew, cross_entropy, examples, pair, situation, walked


def trained(network: Any, steps: int = 3) -> Any:
    """A network after a few steps of its own, so that its buffers are not those of the start."""
    inputs, targets = examples()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network.train()(inputs), targets).backward()
        optimizer.step()
    return network


def both(name: str, make: Callable[[], Any], start: Any, end: Any, outcome: Any = None) -> Iterator[Case]:
    """The line between two given networks, by plain calls and by the engine."""
    data = examples()
    expected = anew(make, start, end, cross_entropy(*data))
    for fast in (None, True):
        yield Case(f"{name}, fast={fast}", lambda: walked(start, end, data, fast=fast), expected, outcome)


@situation
def layers_that_standardise(_folder: Path) -> Iterator[Case]:
    class Standardised(nn.Conv1d):
        def forward(self, x: Any) -> Any:
            w = self.weight
            w = (w - w.mean((1, 2), keepdim=True)) / (w.std((1, 2), keepdim=True) + 1e-5)
            return F.conv1d(x, w, self.bias, padding=1)

    class Net(nn.Module):
        def __init__(self, norm: Callable[[], nn.Module]) -> None:
            super().__init__()
            self.conv, self.norm, self.head = Standardised(1, 4, 3), norm(), nn.Linear(24, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.norm(self.conv(x[:, None])).relu().flatten(1))

    norms: dict[str, Callable[[], nn.Module]] = {
        "GroupNorm": lambda: nn.GroupNorm(2, 4),
        "momentum=None": lambda: nn.BatchNorm1d(4, momentum=None),
        "SyncBatchNorm": lambda: nn.SyncBatchNorm(4),
        "InstanceNorm with statistics": lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
        "LocalResponseNorm": lambda: nn.LocalResponseNorm(2),
        "LazyBatchNorm": lambda: nn.LazyBatchNorm1d(),
    }
    inputs, _ = examples()
    for name, norm in norms.items():

        def make(norm: Any = norm) -> Any:
            network = Net(norm)
            with torch.no_grad():
                network(inputs) if not isinstance(network.norm, nn.SyncBatchNorm) else None
            return network

        start, end = pair(make)
        if not isinstance(start.norm, nn.SyncBatchNorm):
            trained(start), trained(end)
        yield from both(name, make, start, end)
    start, end = (trained(Net(norms["InstanceNorm with statistics"])) for _ in "ab")
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))
    data = examples()

    def treated(treatment: str) -> Answer:
        options = ls.ScanOptions(alphas=ALPHAS, batchnorm=treatment)
        curve = ls.scan(line, ls.Evaluator(start, {"test": data, "train": data}), options)
        return curve["test", "cross_entropy", treatment].mean, curve.provenance["notes"]

    def recalibrated(network: Any) -> Tensor:
        norm = network.norm
        norm.reset_running_stats()
        norm.momentum = 1.0
        norm.train()
        network(data[0].double())
        norm.eval()
        return F.cross_entropy(network(data[0].double()), data[1])

    expected = anew(lambda: Net(norms["InstanceNorm with statistics"]), start, end, recalibrated)
    yield Case("InstanceNorm, recalibrated", lambda: treated("recalibrate"), expected, "noted")


@situation
def quantisation_aware_training(_folder: Path) -> Iterator[Case]:
    from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver, disable_observer

    class Quantised(Body):
        def __init__(self) -> None:
            super().__init__()
            self.fake = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)

        def between(self, x: Any) -> Any:
            return self.fake(x.float()).to(x.dtype).tanh()

    def make() -> Any:
        return Quantised().apply(disable_observer)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start, end = (trained(Quantised()).apply(disable_observer) for _ in "ab")
        yield from both("its observer switched off", make, start, end)
        first, last = (trained(Quantised()) for _ in "ab")
    # What the observer has seen depends on the batches, which are others where fewer examples are evaluated.
    yield from both("its observer watches", Quantised, first, last, "refused")


@situation
def mixtures_and_routers(_folder: Path) -> Iterator[Case]:
    class Mixture(Body):
        def __init__(self, noisy: bool = False) -> None:
            super().__init__()
            self.noisy, self.router = noisy, nn.Linear(5, 4)
            self.experts = nn.ModuleList(nn.Linear(5, 5) for _ in range(4))

        def between(self, x: Any) -> Any:
            scores = self.router(x)
            if self.training or self.noisy:
                scores = scores + torch.randn_like(scores)
            gate, chosen = scores.softmax(1).topk(2)
            out = torch.zeros_like(x)
            for number, expert in enumerate(self.experts):
                rows, place = (chosen == number).nonzero(as_tuple=True)
                if len(rows):
                    out = out.index_add(0, rows, gate[rows, place, None] * expert(x[rows]))
            return out

    yield from right(Mixture, "two of four experts")
    yield Case("noise in eval mode", lambda: walked(*pair(lambda: Mixture(True)), examples()), None)


@situation
def shared_and_reused_layers(_folder: Path) -> Iterator[Case]:
    class Tied(nn.Module):
        """An autoencoder with one weight, and a layer that is there under two names."""

        def __init__(self) -> None:
            super().__init__()
            self.encode, self.middle, self.head = nn.Linear(6, 5), nn.Linear(6, 6), nn.Linear(6, 3)
            self.again = self.middle

        def forward(self, x: Any) -> Any:
            decoded = F.linear(self.encode(x).tanh(), self.encode.weight.t())
            return self.head(self.again(self.middle(decoded).tanh()))

    yield from right(Tied)

    class Parametrised(Body):
        def __init__(self) -> None:
            super().__init__()
            parametrize.register_parametrization(self.first, "weight", _Symmetric())
            self.other = nn.Linear(6, 5)
            self.other.weight = self.first.parametrizations.weight.original

        def between(self, x: Any) -> Any:
            return x.tanh()

        def forward(self, x: Any) -> Any:
            return self.head((self.first(x) + self.other(x)).tanh())

    yield from right(Parametrised, "tied through a parametrization")

    class Untied(Body):
        def __init__(self, tied: bool) -> None:
            super().__init__()
            self.second = nn.Linear(6, 5)
            if tied:
                self.second.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.head((self.first(x) * self.second(x)).tanh())

    torch.manual_seed(2)
    tied, untied = Untied(True), Untied(False)
    yield Case("tied at one end only", lambda: walked(tied, untied, examples()), None)
    yield Case("tied at the end only", lambda: walked(untied, tied, examples()), None)


class _Symmetric(nn.Module):
    def forward(self, w: Any) -> Any:
        return w.sigmoid() * 2


@situation
def recurrent_layers(_folder: Path) -> Iterator[Case]:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.LSTM(1, 4, 2, bidirectional=True, proj_size=2, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.cells(x[:, :, None])[0][:, -1])

    yield from right(Recurrent, "LSTM in two directions, projected")

    class Dropped(Recurrent):
        """Weight dropping as in AWD-LSTM: the layer's weight is set from a raw one at each call."""

        def __init__(self) -> None:
            super().__init__()
            self.cells: Any = nn.LSTM(1, 4, batch_first=True)
            raw: Any = self.cells.weight_hh_l0
            del self.cells._parameters["weight_hh_l0"]
            self.raw = nn.Parameter(raw.data)
            self.cells.weight_hh_l0 = raw.detach().clone()

        def forward(self, x: Any) -> Any:
            self.cells.weight_hh_l0 = F.dropout(self.raw, 0.5, self.training)
            self.cells._flat_weights = [getattr(self.cells, name) for name in self.cells._flat_weights_names]
            return super().forward(x)

    yield from right(Dropped, "dropped weights")
