"""Which convolutions are computed by Winograd's algorithm, and what happens without a compiler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from linescape.engine.native import build, winograd
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.engine import assert_close, compared, labels, line_of, lines, needs_compiler
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


def test_without_a_compiler_convolutions_are_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    build.compiled.cache_clear()
    monkeypatch.setattr(build, "compiler", lambda: None)
    try:
        assert not build.kernels()
        net, inputs = wide(8, 48)
        compared(line_of(net, inputs), net, (inputs, labels(48)), alphas=2)
    finally:
        build.compiled.cache_clear()
