"""Which networks can be taken as a graph, by tracing or by recordings, and that others are called as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape import recipe
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.engine import ALPHAS, assert_close, compared, drawn, kept_bytes, labels, line_of, noted
from tests.support.engine_networks import (
    IMAGES,
    TEXT,
    VECTORS,
    Branching,
    Head,
    Masked,
    Padded,
    Switched,
    built,
    masked,
)


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (Padded, IMAGES),
        pytest.param(built(recipe.EfficientNetLite(), 32), drawn(8, 2, 32, 32), marks=pytest.mark.slow),
    ],
)
def test_networks_that_fx_cannot_read_are_graphs_too(build: Callable[[], nn.Module], inputs: Tensor) -> None:
    torch.manual_seed(0)
    net = build().eval()
    whole = line_of(net, inputs)
    plain, fast = (Evaluator(net, {"train": (inputs, labels(len(inputs)))}, fast=fast) for fast in (False, True))
    for path in (whole, Only(whole, [name for name in whole.end if name.startswith(("fc", "bn", "stage7", "head"))])):
        expected, found = (
            scan(path, ev, ScanOptions(alphas=2, batchnorm=batchnorm.TREATMENTS)) for ev in (plain, fast)
        )
        assert not noted(found)
        assert_close(found, expected, 1e-5 if build is Padded else 1e-4)  # one pixel a map at the end, of 8 images


class Centred(Head):
    def between(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Norms(Head):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(8, track_running_stats=False)

    def between(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(x)
        return out


class Silent(Head):
    """At the start of a line its outputs are all 0, whatever acts on what."""

    def between(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) * self.fc2.bias.abs().sum()


class Random(Head):
    def between(self, x: Tensor) -> Tensor:
        return x + 1e-6 * torch.randn_like(x)


class RandomConstant(Head):
    def between(self, x: Tensor) -> Tensor:
        return x * (1 + 1e-6 * torch.rand(8))


class Counting(Head):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def between(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Remembering(Head):
    last: Any = None

    def between(self, x: Tensor) -> Tensor:
        self.last = x
        return x


class Collecting(Head):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def between(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.seen[-1]


class Hooked(Head):
    def __init__(self) -> None:
        super().__init__()
        self.fc1.register_forward_hook(lambda layer, inputs, output: output * 2)


class Sized(Head):
    """Does something else for few examples."""

    def between(self, x: Tensor) -> Tensor:
        return x if x.shape[0] > 9 else 3 * x


class Aside(Head):
    """Computes with its weights where `torch.fx` does not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = [self.fc2.bias]

    def between(self, x: Tensor) -> Tensor:
        named = dict(self.named_parameters())["fc1.bias"] * 2
        weight = self.fc2._parameters["weight"]
        assert weight is not None
        return x * named * weight.tanh().sum() + torch.stack(tuple(self.listed)).sum()


class Caught(Head):
    """As `Aside`, and hides that it failed."""

    def between(self, x: Tensor) -> Tensor:
        try:
            return x * sum(value.sum() for value in self.fc2.parameters())
        except Exception:
            return x


@pytest.mark.parametrize("build", [Aside, Caught])
@pytest.mark.parametrize("treatment", ["interpolate", "recalibrate"])
def test_weights_that_code_finds_by_itself_move(build: type[Head], treatment: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(build(), nn.BatchNorm1d(3)).eval()
    whole = line_of(net, VECTORS)
    for path in (whole, Only(whole, ["0.fc2.weight", "0.fc2.bias"])):
        plain, fast = (
            scan(
                path,
                Evaluator(net, {"train": (VECTORS, labels(40))}, batch_size=16, fast=fast),
                ScanOptions(alphas=ALPHAS, batchnorm=treatment),
            )
            for fast in (False, True)
        )
        assert_close(fast, plain)
        assert not noted(fast)


AS_THEY_ARE = [
    Branching, Centred, Norms, Silent, Random, RandomConstant, Counting, Remembering, Collecting, Hooked, Sized
]  # fmt: skip


def first_of(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    found = model(batch[0])
    return found[0] if isinstance(found, tuple) else found, batch[1]


@pytest.mark.parametrize("build", AS_THEY_ARE)
def test_networks_that_are_no_graph_are_called_as_they_are(build: type[Head]) -> None:
    torch.manual_seed(0)
    net = build().eval()
    whole = line_of(net, VECTORS)
    if build is Silent:
        zeros = {name: torch.zeros_like(value) for name, value in whole.start.items() if name.startswith("fc2")}
        whole = Line(whole.start.replace(zeros), whole.end)
    data = (VECTORS, labels(40))
    for path in (whole, Only(whole, [name for name in whole.end if name.startswith("fc2")])):
        found = compared(path, net, data, batch_size=16, forward=first_of)
        assert len(noted(found)) == (build is not Counting)  # which gets a new copy at every position
    # Without `forward` the data may be joined to larger batches where the network allows it.
    compared(whole, net, data, batch_size=16)


def test_the_note_is_there_only_where_recording_was_tried() -> None:
    net = Branching().eval()
    whole = line_of(net, VECTORS)
    evaluator = Evaluator(net, {"d": (VECTORS, labels(40))})
    evaluator._fast = None
    assert not noted(scan(whole, evaluator, ScanOptions(alphas=3)))


class Answer(NamedTuple):
    logits: Tensor
    hidden: Tensor


@dataclass
class Reply:
    logits: Tensor


class Forms(Head):
    """Gives its logits in the form that it is asked for."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(super().forward(x))


@pytest.mark.parametrize(
    ("form", "graph"),
    [
        (lambda x: {"logits": x, "twice": 2 * x}, True),
        (lambda x: Answer(x, x), True),
        (lambda x: Reply(x), False),
        (lambda x: (x, None), True),
        (lambda x: (x, "a word"), True),
        (lambda x: (x, {1}), True),
        (lambda x: (x, x.shape[0]), False),
    ],
    ids=["dictionary", "named tuple", "dataclass", "None", "a word", "a set", "a number"],
)
def test_outputs_may_have_any_form(form: Callable[[Tensor], Any], graph: bool) -> None:
    def pick(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        found = model(batch[0])
        return found["logits"] if isinstance(found, dict) else getattr(found, "logits", found[0]), batch[1]

    def pick_reply(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0]).logits, batch[1]

    net = Forms(form).eval()
    whole = State.from_module(Head()), State.from_module(Head())
    forward = pick_reply if isinstance(form(torch.zeros(1)), Reply) else pick
    found = compared(Line(*whole), net, (VECTORS, labels(40)), forward=forward)
    assert bool(noted(found)) != graph


def test_an_encoder_with_padding_masks_is_a_graph_for_each_length() -> None:
    torch.manual_seed(0)
    net = Masked().eval()
    whole = line_of(net, TEXT)
    batches = [masked(12, 5), masked(7, 5), masked(9, 6)]
    plain, fast = (Evaluator(net, {"d": batches}, fast=fast) for fast in (False, True))
    for path in (whole, Only(whole, ["fc.weight", "fc.bias"])):
        found = scan(path, fast, ScanOptions(alphas=ALPHAS))
        assert_close(found, scan(path, plain, ScanOptions(alphas=ALPHAS)))
        assert not noted(found)
    assert kept_bytes(fast.engine) < 40 * 8 * 4 * 3  # what the classifier reads, not the encoder's insides


def test_of_many_lengths_a_few_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linescape.engine.fast._KINDS", 0)
    torch.manual_seed(0)
    net = Masked().eval()
    whole = line_of(net, TEXT)
    found = compared(whole, net, [masked(5, 3), masked(5, 4)], alphas=2)
    assert "more than 0 ways" in noted(found)[0]


def test_arguments_that_are_no_tensors_are_part_of_the_graph() -> None:
    net = Switched()
    line, data = line_of(net, drawn(40, 6)), [(drawn(40, 6), labels(40))]
    for twice, scale in ((True, 1.0), (False, 0.5)):
        curves = []
        for fast in (True, False):
            evaluator = Evaluator(
                net,
                {"test": data},
                forward=lambda model, batch, t=twice, s=scale: (model(x=batch[0], twice=t, scale=s), batch[1]),  # type: ignore[misc]
                fast=fast,
            )
            curves.append(scan(line, evaluator, ScanOptions(alphas=ALPHAS)))
        assert curves[0].provenance["notes"] == curves[1].provenance["notes"]
        found, expected = (curve["test", "cross_entropy"].values for curve in curves)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
