"""Projections of random subspaces, compared with their matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard as sylvester
from torch.utils.flop_counter import FlopCounterMode

from linescape.recipe import Subspace
from linescape.training.projections import PROJECTIONS, Fastfood, Projection, hadamard, projection

CPU = torch.device("cpu")
SIZES = [(1, 1), (5, 3), (64, 64), (100, 7), (300, 20)]


def columns(of: Projection, dimension: int) -> torch.Tensor:
    return torch.stack([of(row) for row in torch.eye(dimension, dtype=torch.float64)], dim=1)


@pytest.mark.parametrize(("size", "dimension"), [(300, 20), (64, 9), (5000, 1)])
def test_multiplications_of_fastfood_are_those_of_torchs_counter(size: int, dimension: int) -> None:
    of = Fastfood(size, dimension, 0, torch.float64, CPU)
    with FlopCounterMode(display=False) as counter:
        of.adjoint(of(torch.ones(dimension, dtype=torch.float64)))
    assert counter.get_total_flops() / 2 == 2 * Fastfood.multiplications(size, dimension)


@pytest.mark.parametrize("length", [1, 2, 32, 64, 128, 1024])
def test_the_fast_transform_is_multiplication_by_the_matrix(length: int) -> None:
    vector = torch.randn(length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = sylvester(length).astype(float) @ vector.numpy()
    assert np.allclose(hadamard(vector).numpy(), expected, rtol=0, atol=1e-12 * length)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize(("size", "dimension"), SIZES)
def test_fastfood_equals_its_dense_matrix(size: int, dimension: int, dtype: torch.dtype, tolerance: float) -> None:
    """S H G Pi H B, multiplied out from what was drawn, with the divisor of the source."""
    of = Fastfood(size, dimension, 3, dtype, CPU)
    length = 2 ** math.ceil(math.log2(size))
    random = torch.Generator().manual_seed(3)
    signs = torch.randint(2, (dimension,), generator=random) * 2 - 1
    order = torch.randperm(length, generator=random)
    gauss = torch.randn(length, generator=random, dtype=torch.float64).numpy()
    transform = sylvester(length).astype(float)
    permutation = np.eye(length)[order.numpy()]
    whole = transform @ np.diag(gauss) @ permutation @ transform
    divisor = np.sqrt(length * (gauss**2).sum()) * np.sqrt(size / length)
    matrix = (whole[:size, :dimension] * signs.numpy()) / divisor
    x = np.random.default_rng(0).normal(size=dimension)
    y = np.random.default_rng(1).normal(size=size)
    assert np.allclose(of(torch.tensor(x, dtype=dtype)).numpy(), matrix @ x, rtol=0, atol=tolerance * np.abs(x).sum())
    there = of.adjoint(torch.tensor(y, dtype=dtype)).numpy()
    assert np.allclose(there, matrix.T @ y, rtol=0, atol=tolerance * np.abs(y).sum())


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize(("size", "dimension"), SIZES)
def test_the_adjoint_is_the_transpose(name: str, size: int, dimension: int) -> None:
    of = projection(Subspace(dimension, name), size, 0, torch.float64, CPU)  # type: ignore[arg-type]
    y = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(of.adjoint(y), columns(of, dimension).T @ y, rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("name", ["dense", "sparse"])
@pytest.mark.parametrize(("size", "dimension"), SIZES)
def test_columns_have_length_1(name: str, size: int, dimension: int) -> None:
    of = projection(Subspace(dimension, name), size, 0, torch.float64, CPU)  # type: ignore[arg-type]
    lengths = columns(of, dimension).norm(dim=0)
    assert torch.allclose(lengths, torch.ones(dimension, dtype=torch.float64), rtol=0, atol=1e-12)


def test_columns_of_fastfood_have_length_1_on_average() -> None:
    """Exactly where the number of weights is a power of two, else within four standard errors over draws."""
    exact = columns(Fastfood(128, 9, 0, torch.float64, CPU), 9).norm(dim=0)
    assert torch.allclose(exact, torch.ones(9, dtype=torch.float64), rtol=0, atol=1e-12)
    squares = torch.tensor(
        [float(columns(Fastfood(100, 1, seed, torch.float64, CPU), 1).square().sum()) for seed in range(400)]
    )
    assert abs(float(squares.mean()) - 1) < 4 * float(squares.std()) / 20


def test_draws_follow_from_the_seed_and_memory_is_known() -> None:
    for name, expected in (("dense", 8 * 100 * 7), ("sparse", 16 * 10 * 7), ("fastfood", 8 * 7 + 24 * 128)):
        first, again, other = (
            projection(Subspace(7, name), 100, seed, torch.float64, CPU)  # type: ignore[arg-type]
            for seed in (0, 0, 1)
        )
        assert torch.equal(columns(first, 7), columns(again, 7))
        assert not torch.equal(columns(first, 7), columns(other, 7))
        assert first.bytes == expected
