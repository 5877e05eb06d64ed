"""Further networks whose copies do not simply answer as they do, found with fresh eyes."""

# mypy: disable-error-code="misc, no-untyped-call, attr-defined, operator, no-any-return"

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

import linescape as ls
from tests.support.situations import ALPHAS, Answer, Case, anew, cross_entropy, examples, pair, situation, walked


def right(make: Callable[[], Any], name: str = "a walk", **settings: Any) -> Iterator[Case]:
    """The line between two such networks, by the engine too, and that the start can be trained afterwards."""
    start, end = pair(make)
    data = examples()
    expected = anew(make, start, end, cross_entropy(*data))
    for fast in (None, True):
        yield Case(f"{name}, fast={fast}", lambda: walked(start, end, data, fast=fast, **settings), expected)

    def trains() -> Answer:
        start.train()(data[0].clone()).sum().backward()
        return [0.0], []

    yield Case(f"{name}: the start can be trained", trains, [0.0])


class Body(nn.Module):
    """Two layers, with something between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def between(self, x: Any) -> Any:
        return x.tanh()

    def forward(self, x: Any) -> Any:
        return self.head(self.between(self.first(x)))


@situation
def inside_autocast(_folder: Path) -> Iterator[Case]:
    start, end = pair(Body)
    data = examples()
    expected = anew(Body, start, end, cross_entropy(*data))

    def inside(**settings: Any) -> Answer:
        with torch.autocast("cpu", torch.bfloat16):
            means, notes = walked(start, end, data, **settings)
        return [round(float(mean), 1) for mean in means], notes

    for settings in ({}, {"fast": True}, {"copy": False}):
        yield Case(str(settings), lambda: inside(**settings), [round(value, 1) for value in expected])
    network = parametrized()
    with parametrize.cached():
        yield Case("inside parametrize.cached()", lambda: walked(network, parametrized(), data), None)


def parametrized() -> nn.Module:
    network = nn.Linear(6, 3)
    nn.utils.parametrizations.orthogonal(network, "weight")
    return network


@situation
def functions_that_refer_to_the_network(_folder: Path) -> Iterator[Case]:
    class Switched(Body):
        def __init__(self) -> None:
            super().__init__()
            self.drop = lambda x: x if self.training else 0.5 * x

        def between(self, x: Any) -> Any:
            return self.drop(x).tanh()

    class Hooked(Body):
        def __init__(self) -> None:
            super().__init__()
            self.scale: Any = None

            def hook(_module: Any, _inputs: Any, outputs: Any) -> None:
                self.scale = outputs.abs().mean()

            self.first.register_forward_hook(hook)

        def between(self, x: Any) -> Any:
            return x / self.scale

    class Weakly(Body):
        def __init__(self) -> None:
            super().__init__()
            self.options = weakref.WeakKeyDictionary({self.first: 3.0})

        def between(self, x: Any) -> Any:
            return x * self.options.get(self.first, 1.0)

    class Refreshed(Body):
        def __init__(self) -> None:
            super().__init__()
            self.refresh()
            self.register_load_state_dict_post_hook(lambda _module, _keys: self.refresh())

        def refresh(self) -> None:
            self.norm = float(self.first.weight.detach().norm())

        def between(self, x: Any) -> Any:
            return x / self.norm

    for kind in (Switched, Hooked, Weakly, Refreshed):
        yield from right(kind, kind.__name__)


@situation
def results_kept_with_the_weights(_folder: Path) -> Iterator[Case]:
    class OnTheTensor(Body):
        def between(self, x: Any) -> Any:
            weight: Any = self.first.weight
            if not hasattr(weight, "kept"):
                weight.kept = weight.detach().norm()
            return x / weight.kept

    class Binary(nn.Linear):
        def forward(self, x: Any) -> Any:
            weight: Any = self.weight
            if not hasattr(weight, "org"):
                weight.org = weight.data.clone()
            weight.data = weight.org.sign()
            return F.linear(x, weight, self.bias)

    yield from right(OnTheTensor, "on the tensor")
    start, end = pair(lambda: Binary(6, 3))
    data = examples()
    expected = anew(lambda: Binary(6, 3), start, end, lambda net: F.cross_entropy(net.float()(data[0]), data[1]))
    yield Case("a weight that is replaced by its sign", lambda: walked(start, end, data), expected)


@situation
def what_a_walk_in_place_leaves(_folder: Path) -> Iterator[Case]:
    class Locked(Body):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.calls = threading.Lock(), 0
            self.history: list[float] = []
            self.generator = np.random.default_rng(3)
            self.last: Any = None

        def between(self, x: Any) -> Any:
            self.calls += 1
            self.history.append(float(x.mean()))
            self.generator.random()
            self.last = x
            return x.tanh()

    yield from right(Locked, "counters and lists")
    start, end = pair(Locked)
    before = vars(start).copy(), start.generator.bit_generator.state
    start.first.weight.grad = torch.ones(5, 6)
    walked(start, end, examples())
    left = [start.calls, len(start.history), float(start.last is None), float(before[0].keys() == vars(start).keys())]
    same = start.generator.bit_generator.state == before[1]
    yield Case("what it held", lambda: ([*map(float, left), float(same)], []), [0.0, 0.0, 1.0, 1.0, 1.0])
    yield Case("its gradients", lambda: ([float(start.first.weight.grad.mean())], []), [1.0])


@situation
def code_that_keeps_tensors(_folder: Path) -> Iterator[Case]:
    @functools.lru_cache(None)
    def table(rows: int) -> Tensor:
        return torch.linspace(0, 1, rows)[:, None] * torch.ones(5)

    class Positions(Body):
        def between(self, x: Any) -> Any:
            return (x + table(len(x)).to(x)).tanh()

    class Threads(Body):
        def between(self, x: Any) -> Any:
            with ThreadPoolExecutor(2) as pool:
                return sum(pool.map(torch.tanh, (x, 2 * x)))

    start, end = pair(Positions)
    data = examples()
    expected = anew(Positions, start, end, cross_entropy(*data))
    table.cache_clear()
    yield Case("a table that is filled while measuring", lambda: walked(start, end, data), expected)
    yield Case("and then trained with", lambda: ([float(start(data[0]).sum().backward() is None)], []), [1.0])
    yield from right(Threads, "threads")


@situation
def names_as_of_spectral_norm(_folder: Path) -> Iterator[Case]:
    class RankOne(nn.Module):
        def __init__(self, rank: int) -> None:
            super().__init__()
            self.weight_orig = nn.Parameter(torch.randn(3, 6))
            shapes = ((3,), (6,)) if rank == 1 else ((3, rank), (6, rank))
            self.weight_u, self.weight_v = (nn.Parameter(torch.randn(shape)) for shape in shapes)

        def forward(self, x: Any) -> Any:
            u, v = (vectors.reshape(len(vectors), -1) for vectors in (self.weight_u, self.weight_v))
            return x @ (self.weight_orig + u @ v.T).T

    for rank in (1, 2):
        yield from right(lambda rank=rank: RankOne(rank), f"an update of rank {rank}")


@situation
def recalibration_of_frozen_statistics(_folder: Path) -> Iterator[Case]:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Any:
            del mode
            return super().train(False)

    start, end = (nn.Sequential(nn.Linear(6, 5), kind(5), nn.Linear(5, 3)) for kind in (Frozen, Frozen))
    plain = [nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)) for _ in "ab"]
    for network, other in zip(plain, (start, end), strict=True):
        network.load_state_dict(other.state_dict())
    data = examples()

    def recalibrated(first: Any, last: Any) -> Answer:
        line = ls.Line(ls.State.from_module(first), ls.State.from_module(last))
        options = ls.ScanOptions(alphas=ALPHAS, batchnorm=("recalibrate",))
        curve = ls.scan(line, ls.Evaluator(first, {"test": data, "train": data}), options)
        return curve["test", "cross_entropy"].mean, curve.provenance["notes"]

    expected = recalibrated(*plain)[0]
    yield Case("recalibrated", lambda: recalibrated(start, end), expected)


@situation
def data_that_are_written_to(_folder: Path) -> Iterator[Case]:
    class Sometimes(Body):
        def forward(self, x: Any) -> Any:
            if x.max() > 3:
                x.div_(x.max())
            return super().forward(x)

    class ByNumpy(Body):
        def forward(self, x: Any) -> Any:
            values = x.numpy()
            values -= 0.5
            return super().forward(x)

    @dataclass
    class Batch:
        x: Tensor
        labels: Tensor

    def forgiving(outputs: Tensor, targets: Tensor) -> Tensor:
        targets[targets == 2] = 0
        outputs.clamp_(max=100.0)
        return F.cross_entropy(outputs, targets, reduction="none")

    for kind in (Sometimes, ByNumpy):
        start, end = pair(kind)
        inputs, targets = examples()
        inputs[-5:] *= 4
        before = inputs.clone()

        def expected_at(network: Any) -> float:
            return float(F.cross_entropy(network.eval()(before.clone()).detach(), targets))

        ends = [expected_at(start), expected_at(end)]

        def at_ends(given: Any, **settings: Any) -> Answer:
            means, notes = walked(start, end, given, **settings)
            return [float(means[0]), float(means[-1])], notes

        yield Case(f"{kind.__name__}: the ends", lambda: at_ends((inputs, targets)), ends)
        batches = [Batch(inputs, targets)]
        forward = lambda network, batch: (network(batch.x), batch.labels)  # noqa: E731
        yield Case(f"{kind.__name__}: in dataclasses", lambda: at_ends(batches, forward=forward), ends)
        walked(start, end, (inputs, targets), "forgiving", measures=[forgiving])
        changed = float((inputs - before).abs().max()), float((targets - examples()[1]).abs().max())
        yield Case(f"{kind.__name__}: data stay", lambda: (changed, []), [0.0, 0.0])


@situation
def what_no_state_dict_holds(_folder: Path) -> Iterator[Case]:
    def differing(change: Callable[[Any], None]) -> Answer:
        start, end = pair(Body)
        change(end)
        notes = walked(start, end, examples())[1]
        return [float(any("do not hold" in note for note in notes))], []

    def hide(network: Any) -> None:
        network._blocks = [nn.Linear(5, 5)]

    def average(network: Any) -> None:
        network._ema = 0.7

    def array(network: Any) -> None:
        network.mean = np.ones(3)

    def configure(network: Any) -> None:
        network.config = type("Config", (), {})()
        network.config.scale = 2.0

    def gather(network: Any) -> None:
        network.extra = {nn.Linear(2, 2)}

    for change in (hide, average, array, configure, gather):
        yield Case(change.__name__, lambda: differing(change), [1.0])


@situation
def other_kinds_of_networks(_folder: Path) -> Iterator[Case]:
    scripted = [torch.jit.script(network) for network in pair(Plain)]
    data = examples()
    first, last = pair(Plain)
    expected = anew(Plain, first, last, cross_entropy(*data))
    for fast in (None, True):
        yield Case(f"TorchScript, fast={fast}", lambda: walked(scripted[0], scripted[1], data, fast=fast), expected)

    class Expanded(Body):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ones", torch.ones(1).expand(5))

        def between(self, x: Any) -> Any:
            return x.tanh() * self.ones

    start, end = pair(Expanded)
    expected = anew(Plain, loaded(start), loaded(end), cross_entropy(*data))
    yield Case("an expanded buffer", lambda: walked(start, end, data), expected)

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Body()

        def state_dict(self) -> Any:  # type: ignore[override]
            return self.inner.state_dict()

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    yield Case("a state_dict of its own without arguments", lambda: walked(Wrapper(), Wrapper(), data), None)

    class Classwide(Body):
        kept: dict[Any, Tensor] = {}

        def forward(self, x: Any) -> Any:
            if self.first.weight.shape not in self.kept:
                self.kept[self.first.weight.shape] = F.normalize(self.first.weight.detach())
            return self.head((x @ self.kept[self.first.weight.shape].T).tanh())

    start, end = pair(Classwide)

    def named() -> Answer:
        notes = walked(start, end, data)[1]
        return [float(any("kept outside" in note for note in notes))], notes

    yield Case("a cache of the class is refused", named, None)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).tanh())


def loaded(network: nn.Module) -> nn.Module:
    plain = Plain()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if name != "ones"})
    return plain


@dataclass
class Output:
    logits: Tensor


@situation
def outputs_of_other_kinds(_folder: Path) -> Iterator[Case]:
    class Kept(nn.Linear):
        kept: Tensor | None = None

        def train(self, mode: bool = True) -> Any:
            self.kept = None
            return super().train(mode)

        def forward(self, x: Any) -> Any:
            if self.training or self.kept is None:
                self.kept = F.normalize(self.weight.detach())
            return F.linear(x, self.kept, self.bias)

    class Masked(Kept):
        def forward(self, x: Any) -> Any:
            return torch.cat([super().forward(x), torch.full((len(x), 1), -1e9, dtype=x.dtype)], 1)

    class Wrapped(Kept):
        def forward(self, x: Any) -> Any:
            return Output(super().forward(x))

    yield from right(lambda: Masked(6, 3), "a logit of -1e9")
    start, end = pair(lambda: Wrapped(6, 3))
    data = examples()
    expected = anew(
        lambda: Wrapped(6, 3), start, end, lambda net: F.cross_entropy(net(data[0].double()).logits, data[1])
    )
    yield Case("a dataclass", lambda: walked(start, end, data), expected)

    class Noisy(Masked):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 0.01 * torch.randn(4)

    yield Case("noise beside a logit of -1e9", lambda: walked(*pair(lambda: Noisy(6, 3)), data), None)
