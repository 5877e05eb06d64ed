"""Which convolutions are computed by the kernels in C, and what happens without a compiler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from linescape.engine.native import build, narrow, winograd
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.engine import assert_close, compared, drawn, labels, line_of, lines, needs_compiler
from tests.support.engine_networks import wide


@pytest.fixture
def transformed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The outputs of each weight that is put into Winograd's form, as that happens."""
    transform, calls = winograd.transformed, list[int]()

    def counted(weight: Tensor, into: Tensor) -> Tensor:
        calls.append(len(weight))
        return transform(weight, into)

    monkeypatch.setattr(winograd, "transformed", counted)
    return calls


@needs_compiler
@pytest.mark.parametrize("precision", [None, "bfloat16"])
@pytest.mark.parametrize(("side", "examples", "winograds"), [(8, 48, 2), (6, 48, 2), (5, 48, 0), (8, 6, 0)])
def test_wide_convolutions_are_done_by_winograd_where_that_pays(
    side: int, examples: int, winograds: int, precision: Any, transformed: list[int]
) -> None:
    net, inputs = wide(side, examples)
    whole, data = line_of(net, inputs), (inputs, labels(examples))
    relative = 0.05 if precision else 1e-5
    for path in (whole, lines(net, whole)["conv1"]):
        plain, fast = (
            Evaluator(net, {"d": data}, [cross_entropy], fast=fast, precision=precision if fast else None)
            for fast in (False, True)
        )
        assert_close(scan(path, fast, ScanOptions(alphas=2)), scan(path, plain, ScanOptions(alphas=2)), relative)
        if path is whole and (not precision or torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            assert len(transformed) == 2 * winograds  # once at each position, though batches are several


@needs_compiler
@pytest.mark.parametrize(("weights", "winograds"), [(2.5, 2), (1.5, 1), (0.5, 0)])
def test_weights_in_another_form_take_no_more_memory_than_allowed(
    weights: float, winograds: int, transformed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linescape.engine.fast.LIGHT", 1e9)
    net, inputs = wide(8, 48)
    compared(line_of(net, inputs), net, (inputs, labels(48)), alphas=2, memory=weights * 36 * 256 * 256 * 4)
    assert len(transformed) == 2 * winograds


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of each weight that is put into the form of convolutions with few channels, as that happens."""
    pack, calls = narrow.packed, list[tuple[int, ...]]()

    def counted(weight: Tensor) -> Tensor:
        calls.append(tuple(weight.shape))
        return pack(weight)

    monkeypatch.setattr(narrow, "packed", counted)
    return calls


def convolutional(*layers: nn.Module, images: Tensor) -> nn.Module:
    flat = nn.Flatten()
    features = flat(nn.Sequential(*layers)(images[:1])).shape[1]
    return nn.Sequential(*layers, flat, nn.Linear(features, 3)).eval()


CASES: dict[str, tuple[list[nn.Module], int]] = {
    "as in a LeNet": (
        [nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3), nn.ReLU(), nn.MaxPool2d(2)],
        2,
    ),
    "with BatchNorm": (
        [nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(3, 3)],
        1,
    ),
    "pooled before the ReLU": ([nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.ReLU()], 1),
    "not pooled": ([nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 9, 3)], 1),
    "windows that overlap": ([nn.Conv2d(1, 12, 3), nn.ReLU(), nn.MaxPool2d(3, 2)], 0),
    "dilated or grouped": (
        [nn.Conv2d(1, 4, 3, dilation=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, groups=2)],
        0,
    ),
    "bfloat16": ([nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2)], 0),
}


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_convolutions_with_few_channels_are_done_with_what_follows_them(
    case: str, packed: list[tuple[int, ...]]
) -> None:
    layers, expected = CASES[case]
    images = drawn(30, 1, 16, 14)
    net = convolutional(*layers, images=images)
    if case == "bfloat16":
        net, images = net.bfloat16(), images.bfloat16()
    whole = line_of(net, images)
    for path in (whole, next(iter(lines(net, whole).values()))):
        packed.clear()
        compared(path, net, (images, labels(30)), alphas=3)
        assert len(set(packed)) == expected
    assert len(packed) <= 3 * expected


def test_without_a_compiler_convolutions_are_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    build.compiled.cache_clear()
    monkeypatch.setattr(build, "compiler", lambda: None)
    try:
        assert not build.kernels()
        net, inputs = wide(8, 48)
        compared(line_of(net, inputs), net, (inputs, labels(48)), alphas=2)
    finally:
        build.compiled.cache_clear()
