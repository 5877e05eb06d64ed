"""A result says what its measures make of their settings, and where outputs are not what they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.evaluation import remarks
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import binary_cross_entropy, binary_error, cross_entropy, squared_error
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def test_means_that_are_not_those_of_torch_are_told() -> None:
    weighted = nn.CrossEntropyLoss(torch.ones(3), ignore_index=1, reduction="none")
    weight, ignored = remarks.of_settings(weighted)
    assert "partial(cross_entropy, weight=...)" in weight
    assert "whatever its ignore_index is" in ignored
    assert remarks.of_settings(partial(F.cross_entropy, ignore_index=1, reduction="none")) == [
        ignored.replace("CrossEntropyLoss", "cross_entropy")
    ]
    for plain in (nn.CrossEntropyLoss(reduction="none"), cross_entropy, partial(cross_entropy, weight=torch.ones(3))):
        assert remarks.of_settings(plain) == []
    network = nn.Linear(4, 3)
    line = Line(State.from_module(network), State.from_module(nn.Linear(4, 3)))
    evaluator = Evaluator(network, {"d": (torch.randn(9, 4), torch.arange(9) % 3)}, [weighted])
    assert weight in scan(line, evaluator, ScanOptions(alphas=3)).provenance["notes"]


def said(network: Any, measure: Any, targets: Tensor, forward: Any = None, **options: Any) -> list[str]:
    """The notes of a line between two networks of a kind."""
    torch.manual_seed(0)
    start, end = network(), network()
    inputs = torch.randn(40, 4)
    settings = {} if forward is None else {"forward": forward}
    evaluator = Evaluator(start, {"d": (inputs, targets)}, [measure], **settings)
    path = Line(State.from_module(start), State.from_module(end))
    notes = [
        curve.provenance["notes"]
        for curve in (scan(p, evaluator, ScanOptions(alphas=3, **options)) for p in (path, Only(path, ["0.weight"])))
    ]
    assert notes[0] == notes[1]
    return list(notes[0])


def ending(*layers: Callable[[], nn.Module], outputs: int = 1) -> Any:
    return lambda: nn.Sequential(nn.Linear(4, outputs), *(layer() for layer in layers))


ONE, SEVERAL, CLASSES = torch.arange(40) % 2, torch.rand(40, 3), torch.arange(40) % 3


@pytest.mark.parametrize(
    ("measure", "targets", "outputs"),
    [
        (binary_cross_entropy, ONE, 1),
        (binary_cross_entropy, SEVERAL.round(), 3),
        (binary_error, SEVERAL.round(), 3),
        (nn.CrossEntropyLoss(reduction="none"), CLASSES, 3),
        (partial(F.cross_entropy, reduction="none"), CLASSES, 3),
        (cross_entropy, CLASSES, 3),  # of a sigmoid for each class, which is no softmax
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_outputs_of_a_sigmoid_are_no_logits(
    measure: Any, targets: Tensor, outputs: int, keep: bool, tmp_path: Any
) -> None:
    options = {"keep": tmp_path} if keep else {}
    (note,) = said(ending(nn.Sigmoid, outputs=outputs), measure, targets, **options)
    assert "'d' are between 0 and 1 at both ends" in note
    assert said(ending(nn.Sigmoid, outputs=outputs), measure, targets, **options) == [note]  # of kept points
    assert said(ending(outputs=outputs), measure, targets) == []
    assert said(ending(nn.Sigmoid, outputs=outputs), lambda o, t: o.flatten(1).sum(1), targets) == []


def test_the_advice_gives_the_values_of_logits() -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0]).logit(), batch[1]

    assert said(ending(nn.Sigmoid), binary_cross_entropy, ONE, forward) == []


def test_one_end_alone_may_have_outputs_between_0_and_1() -> None:
    start, end = nn.Linear(4, 1), nn.Linear(4, 1)
    nn.init.zeros_(start.weight), nn.init.constant_(start.bias, 0.4)
    nn.init.constant_(end.bias, -3.0)
    evaluator = Evaluator(start, {"d": (torch.randn(40, 4), ONE)}, [binary_cross_entropy])
    for first, last in ((start, end), (end, start)):
        line = Line(State.from_module(first), State.from_module(last))
        assert scan(line, evaluator, ScanOptions(alphas=3)).provenance["notes"] == []
    flat = start.state_dict() | {"bias": torch.tensor([0.6])}
    line = Line(State.from_module(start), State.from_module(start).replace(flat))
    (note,) = scan(line, evaluator, ScanOptions(alphas=3)).provenance["notes"]
    assert "applies a sigmoid" in note


@pytest.mark.parametrize("measure", [nn.NLLLoss(reduction="none"), partial(F.nll_loss, reduction="none")])
def test_logits_are_no_logarithms_of_probabilities(measure: Any) -> None:
    for last, expected in (((nn.LogSoftmax,), 0), ((), 1), ((nn.Softmax,), 1), ((nn.LogSigmoid,), 1)):
        layers = [partial(layer, dim=1) if layer in (nn.LogSoftmax, nn.Softmax) else layer for layer in last]
        notes = said(ending(*layers, outputs=3), measure, CLASSES)
        assert ["no logarithms of probabilities" in note for note in notes] == [True] * expected
    assert said(ending(partial(nn.LogSoftmax, dim=1), outputs=3), cross_entropy, CLASSES) == []  # the same number


@pytest.mark.parametrize("measure", [nn.CrossEntropyLoss(reduction="none"), partial(F.cross_entropy, reduction="none")])
def test_ignored_targets_that_count_are_told(measure: Any) -> None:
    targets = torch.arange(40) % 3
    assert said(ending(outputs=3), measure, targets) == []
    targets[33:] = -100  # not among the first examples
    (note,) = said(ending(outputs=3), measure, targets)
    assert "Some targets of 'd' are -100" in note
    assert said(ending(outputs=3), partial(cross_entropy, ignore_index=-100), targets) == []
    numbers = torch.full((40, 1), -100)
    assert said(ending(), squared_error, numbers) == []
