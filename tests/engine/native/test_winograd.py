"""Winograd's convolution against a direct one in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.engine.native import winograd
from linescape.engine.threads import using
from tests.support.engine import drawn, needs_compiler


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [(32, 32), (64, 32), (256, 256), (512, 256), (48, 96)])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 4), (2, 5, 13), (40, 7, 1)])
@pytest.mark.parametrize(("bias", "other", "relu"), [(False, False, False), (True, False, True), (True, True, True)])
def test_winograd_is_a_convolution(
    dtype: torch.dtype, channels: tuple[int, int], shape: tuple[int, int, int], bias: bool, other: bool, relu: bool
) -> None:
    (inputs, outputs), (examples, height, width) = channels, shape
    x, weight = drawn(examples, inputs, height, width).to(dtype), drawn(outputs, inputs, 3, 3, seed=1)
    added = drawn(outputs, seed=2) if bias else None
    beside = drawn(examples, outputs, height, width, seed=3).to(dtype) if other else None
    exact = F.conv2d(x.double(), weight.double(), None if added is None else added.double(), padding=1)
    exact = exact if beside is None else exact + beside
    exact = exact.relu() if relu else exact
    form = winograd.transformed(weight, torch.empty(36 * outputs * inputs))
    results = list[Tensor]()
    for threads in (1, 2):
        with using(threads):
            forms = (x, x.contiguous(memory_format=torch.channels_last))
            results += [winograd.convolution(laid_out, form, added, beside, relu) for laid_out in forms]
            winograd.convolution(x + 1, form, added, beside, relu)  # which writes elsewhere
    assert all(torch.equal(found, results[0]) for found in results)
    far = 5e-6 if dtype == torch.float32 else 2e-3
    assert float((results[0] - exact).norm() / exact.norm()) < far


@needs_compiler
def test_winograd_keeps_what_is_not_finite_and_rounds_as_torch_does() -> None:
    x = torch.zeros(1, 32, 4, 4, dtype=torch.bfloat16)
    form = winograd.transformed(torch.zeros(32, 32, 3, 3), torch.empty(36 * 32 * 32))
    bias = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38, 1 + 2**-8, 1 + 3 * 2**-8, -0.1, 0.0])
    bias = bias.repeat(4)
    for relu in (False, True):
        found = winograd.convolution(x, form, bias, None, relu)[0, :, 0, 0]
        expected = bias.bfloat16().relu() if relu else bias.bfloat16()
        assert torch.equal(found.isnan(), expected.isnan())
        assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))
