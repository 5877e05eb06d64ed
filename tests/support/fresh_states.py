"""Networks whose state is more than plain weights that stay: averages, counters, masks, folded layers."""

# mypy: disable-error-code="union-attr, assignment, arg-type, misc, no-untyped-call, attr-defined, no-any-return"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.fresh_networks import both, trained
from tests.support.further_networks import Body, right
from tests.support.situations import Answer, Case, anew, cross_entropy, examples, pair, situation, walked


@situation
def averages_of_weights(_folder: Path) -> Iterator[Case]:
    def make() -> Any:
        return torch.optim.swa_utils.AveragedModel(Body())

    start, end = pair(make)
    for _ in range(3):
        end.update_parameters(trained(Body()))
    yield from both("AveragedModel", make, start, end)

    class Shadowed(Body):
        """Answers with a moving average in eval mode, as detectors and diffusion models do."""

        def __init__(self) -> None:
            super().__init__()
            self.shadow = {name: value.detach().clone() for name, value in self.named_parameters()}

        def forward(self, x: Any) -> Any:
            if self.training:
                return super().forward(x)
            return torch.func.functional_call(_Inner(self), {f"inner.{n}": v for n, v in self.shadow.items()}, (x,))

    class _Inner(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return self.inner.head(self.inner.first(x).tanh())

    first, last = pair(Shadowed)

    def shadowed() -> Answer:
        notes = walked(first, last, examples())[1]
        return [float(any("do not hold" in note or "No call" in note for note in notes))], notes

    yield Case("an average that no state dict holds", shadowed, [1.0])


@situation
def weights_that_calls_change(_folder: Path) -> Iterator[Case]:
    class Renormed(nn.Module):
        """An embedding whose rows are renormed in place when they are looked up."""

        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(10, 5, max_norm=0.5), nn.Linear(5, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.table(x).sum(1))

    tokens, targets = torch.randint(0, 10, (40, 4)), examples()[1]
    start, end = pair(Renormed)
    expected = anew(Renormed, start, end, lambda net: F.cross_entropy(net(tokens), targets))
    for copied in (True, False):
        yield Case(f"max_norm, copy={copied}", lambda: walked(start, end, (tokens, targets), copy=copied), expected)

    class Counting(Body):
        """Warms up by a counter that each call moves on."""

        def __init__(self) -> None:
            super().__init__()
            self.calls: Any
            self.register_buffer("calls", torch.zeros(()))

        def between(self, x: Any) -> Any:
            self.calls += 1
            return x.tanh() * (self.calls / 10).clamp(max=1)

    start, end = pair(Counting)
    many = examples(count=400)

    def batch_by_batch(network: Any) -> Tensor:
        batches = zip(many[0].double().split(40), many[1].split(40), strict=True)
        return torch.stack([F.cross_entropy(network(inputs), targets) for inputs, targets in batches]).mean()

    counted = anew(Counting, start, end, batch_by_batch)
    yield Case("a counter that matters", lambda: walked(start, end, many, batch_size=40), counted)

    class Warm(Body):
        """Starts its fixed point from where the last one was found, as equilibrium models do."""

        last: Any = None

        def between(self, x: Any) -> Any:
            last = x if self.last is None or self.last.shape != x.shape else self.last
            for _ in range(3):
                last = (0.9 * last + x).tanh()
            self.last = last.detach()
            return last

    yield from both("warm starts", Warm, *pair(Warm))

    class Initialised(Body):
        """ActNorm, which takes its scale from the first batch."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(5))
            self.is_ready: Any
            self.register_buffer("is_ready", torch.tensor(False))

        def between(self, x: Any) -> Any:
            if not self.is_ready:
                self.scale.data = 1 / x.std(0).clamp(min=1e-3)
                self.is_ready.fill_(True)
            return x * self.scale

    first, last = (trained(Initialised()) for _ in "ab")
    yield from both("ActNorm after training", Initialised, first, last)

    yield Case("ActNorm from before its first call", lambda: walked(Initialised(), last, examples()), None)


@situation
def integers_that_differ(_folder: Path) -> Iterator[Case]:
    class Permuted(Body):
        def __init__(self) -> None:
            super().__init__()
            self.order: Any
            self.register_buffer("order", torch.randperm(5))

        def between(self, x: Any) -> Any:
            return x[:, self.order].tanh()

    class Pruned(Body):
        def __init__(self) -> None:
            super().__init__()
            self.kept: Any
            self.register_buffer("kept", torch.rand(5) > 0.4)

        def between(self, x: Any) -> Any:
            return x.tanh() * self.kept

    for kind in (Permuted, Pruned):
        start, end = pair(kind)

        def noted(start: Any = start, end: Any = end) -> Answer:
            notes = walked(start, end, examples())[1]
            return [float(any("order" in note or "kept" in note for note in notes))], notes

        yield Case(f"{kind.__name__} is noted", noted, [1.0])


@situation
def state_dicts_that_are_made(_folder: Path) -> Iterator[Case]:
    class Halved(Body):
        """Saves in half precision, to have small files."""

        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return {name: value.half() for name, value in super().state_dict(*args, **kwargs).items()}

    class Transposed(Body):
        """Saves weights as another framework has them."""

        def __init__(self) -> None:
            super().__init__()
            self.register_state_dict_post_hook(self._saved)
            self.register_load_state_dict_pre_hook(self._loaded)

        @staticmethod
        def _saved(_module: Any, entries: Any, prefix: str, _meta: Any) -> None:
            entries[f"{prefix}first.weight"] = entries[f"{prefix}first.weight"].t().contiguous()

        @staticmethod
        def _loaded(_module: Any, entries: Any, prefix: str, *_: Any) -> None:
            entries[f"{prefix}first.weight"] = entries[f"{prefix}first.weight"].t()

    class Squared(Body):
        """Saves the square of a weight, which it takes the root of when it is loaded."""

        def __init__(self) -> None:
            super().__init__()
            self.first.weight.data.abs_()
            self.register_state_dict_post_hook(self._saved)
            self.register_load_state_dict_pre_hook(self._loaded)

        @staticmethod
        def _saved(_module: Any, entries: Any, prefix: str, _meta: Any) -> None:
            entries[f"{prefix}first.weight"] = entries[f"{prefix}first.weight"].square()

        @staticmethod
        def _loaded(_module: Any, entries: Any, prefix: str, *_: Any) -> None:
            entries[f"{prefix}first.weight"] = entries[f"{prefix}first.weight"].sqrt()

    for kind in (Halved, Transposed, Squared):
        start, end = pair(kind)
        data = examples()
        expected = [round(value, 2) for value in anew(kind, start, end, cross_entropy(*data))]

        def rounded(copied: bool) -> Answer:
            means, notes = walked(start, end, data, copy=copied)
            return [round(float(mean), 2) for mean in means], notes

        for copied in (True, False):
            yield Case(f"{kind.__name__}, copy={copied}", lambda: rounded(copied), expected)


@situation
def folded_by_eval(_folder: Path) -> Iterator[Case]:
    class Folded(nn.Module):
        """Joins its branches into one layer when it is put into eval mode, and apart again, as RepVGG does."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 3)
            self.joined: Any = None

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            if mode:
                self.joined = None
            else:
                self.joined = (
                    self.one.weight.detach() + self.two.weight.detach(),
                    self.one.bias.detach() + self.two.bias.detach(),
                )
            return self

        def forward(self, x: Any) -> Any:
            hidden = self.one(x) + self.two(x) if self.joined is None else F.linear(x, *self.joined)
            return self.head(hidden.relu())

    yield from right(Folded, "two branches")

    class Deployed(nn.Module):
        """Replaces a layer by another one in eval mode."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 5), nn.Linear(5, 3)
            self.norm: Any = nn.BatchNorm1d(5)

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            if not mode and self.norm is not None:
                with torch.no_grad():
                    scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
                    self.body.weight.mul_(scale[:, None])
                    self.body.bias.copy_((self.body.bias - self.norm.running_mean) * scale + self.norm.bias)
                self.norm = None
            return self

        def forward(self, x: Any) -> Any:
            hidden = self.body(x)
            return self.head((hidden if self.norm is None else self.norm(hidden)).relu())

    start, end = (trained(Deployed()) for _ in "ab")
    yield from both("BatchNorm gone for good", Deployed, start, end)
