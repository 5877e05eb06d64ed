"""Convolutions with few channels, with what follows them, against torch's in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.engine.native import narrow
from linescape.engine.native.build import as_int64, library, pointer
from linescape.engine.threads import using
from tests.support.engine import drawn, needs_compiler


def exactly(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    return F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), stride, padding)


@needs_compiler
@pytest.mark.parametrize("channels", [(1, 6), (6, 16), (3, 8), (4, 20), (5, 1), (2, 33), (32, 40)])
@pytest.mark.parametrize(
    ("sides", "kernel", "stride", "padding"),
    [
        ((12, 12), (5, 5), (1, 1), (0, 0)),
        ((7, 19), (3, 3), (1, 1), (1, 1)),
        ((9, 30), (3, 5), (2, 3), (2, 0)),
        ((4, 4), (1, 1), (2, 2), (0, 0)),
        ((2, 5), (2, 4), (1, 1), (0, 3)),
    ],
)
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize(("with_bias", "relu"), [(True, True), (False, False)])
def test_it_is_a_convolution_with_a_relu_and_maxima(
    channels: tuple[int, int],
    sides: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    window: tuple[int, int],
    with_bias: bool,
    relu: bool,
) -> None:
    inputs, outputs = channels
    x, weight = drawn(5, inputs, *sides), drawn(outputs, inputs, *kernel, seed=1)
    bias = drawn(outputs, seed=2) if with_bias else None
    exact = exactly(x, weight, bias, stride, padding)
    exact = exact.relu() if relu else exact
    if min(side // size for side, size in zip(exact.shape[2:], window, strict=True)) == 0:
        pytest.skip("no window fits")
    exact = F.max_pool2d(exact, window)
    found = list[Tensor]()
    for threads in (1, 2):
        with using(threads):
            for laid_out in (x, x.contiguous(memory_format=torch.channels_last)):
                form = narrow.packed(weight)
                found.append(narrow.convolution(laid_out, form, bias, outputs, stride, padding, window, relu))
                narrow.convolution(x + 1, form, bias, outputs, stride, padding, window, relu)  # which writes elsewhere
    assert all(torch.equal(one, found[0]) for one in found)
    assert found[0].shape == exact.shape
    assert float((found[0] - exact).abs().max()) <= 1e-5 * max(float(exact.abs().max()), 1.0)


@needs_compiler
def test_what_is_not_finite_stays() -> None:
    weight = torch.ones(1, 1, 1, 1)
    values = [float("nan"), 1.0, float("inf"), -float("inf"), -1.0, -2.0, -float("inf"), float("nan")]
    x = torch.tensor(values).view(1, 1, 1, 8)
    for relu in (False, True):
        expected = x.relu() if relu else x
        for window in ((1, 1), (1, 2)):
            found = narrow.convolution(x, narrow.packed(weight), None, 1, (1, 1), (0, 0), window, relu)
            pooled = F.max_pool2d(expected, window)
            assert torch.equal(found.isnan(), pooled.isnan())
            assert torch.equal(found.nan_to_num(7.0), pooled.nan_to_num(7.0))


@needs_compiler
@pytest.mark.parametrize("outputs", [1, 6, 8, 11])
def test_nothing_is_written_beyond_the_result(outputs: int) -> None:
    x, form, shift = drawn(3, 2, 6, 6), narrow.packed(drawn(outputs, 2, 3, 3, seed=1)), torch.zeros(64)
    x = x.contiguous(memory_format=torch.channels_last)
    count = 3 * outputs * 2 * 2
    result = torch.full((count + 64,), 7.0)
    sizes = as_int64(3, 6, 6, 2, outputs, 3, 3, 1, 1, 0, 0, 2, 2, 0)
    assert not library().narrow(pointer(x), pointer(form), pointer(shift), pointer(result), *sizes)
    assert bool((result[count:] == 7.0).all())
    assert not bool((result[:count] == 7.0).any())


@needs_compiler
def test_no_examples_are_no_results() -> None:
    form = narrow.packed(drawn(6, 1, 5, 5))
    found = narrow.convolution(torch.empty(0, 1, 28, 28), form, None, 6, (1, 1), (0, 0), (2, 2), True)
    assert found.shape == (0, 6, 12, 12)
