"""The results of two ends blended in C against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from linescape.engine.native import blend
from tests.support.engine import drawn, needs_compiler


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("affine", [None, False, True])
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_results_of_two_ends_are_mixed(dtype: torch.dtype, affine: bool | None, other: bool, relu: bool) -> None:
    start, end, beside = (drawn(3, 32, 5, 7, seed=seed).to(dtype) for seed in (1, 2, 3))
    expected = torch.lerp(start.double(), end.double(), 0.3)
    norm: tuple[Any, ...] = ()
    if affine is not None:
        mean, var = drawn(32, seed=4), drawn(32, seed=5) ** 2
        weight, bias = (drawn(32, seed=6), drawn(32, seed=7)) if affine else (None, None)
        norm = (weight, bias, mean, var, 1e-5)
        scale, shift = (drawn(32, seed=6), drawn(32, seed=7)) if affine else (torch.ones(32), torch.zeros(32))
        mean_of, var_of, scale_of, shift_of = (each.double()[:, None, None] for each in (mean, var, scale, shift))
        expected = (expected - mean_of) / (var_of + 1e-5).sqrt() * scale_of + shift_of
    expected = expected + beside if other else expected
    expected = expected.relu() if relu else expected
    found = blend.mixed(start, end, blend.factors(0.3, 32, *norm), beside if other else None, relu)
    assert found.dtype == dtype
    far = 1e-6 if dtype == torch.float32 else 3e-3
    assert float((found - expected).norm() / expected.norm()) < far
    one = blend.mixed(start, end, blend.factors(1.0, 32), None, relu=False)
    assert torch.equal(one, end)
