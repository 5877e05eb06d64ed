"""Criticality: losses under noise against closed forms, and the minimum against a search by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from linescape import Evaluator, Line, squared_error
from linescape.errors import MeasureError
from linescape.interpolation.critical import Criticality, criticality

SIGMAS = (0.25, 0.5, 1.0)


def linear(seed: int) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(4, 3).double()


@pytest.fixture(scope="module")
def measured() -> tuple[Criticality, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    inputs, targets = (torch.randn(50, width, generator=random, dtype=torch.float64) for width in (4, 3))
    evaluator = Evaluator(linear(0), {"train": (inputs, targets)}, [squared_error])
    line = Line(linear(1), linear(2))
    return criticality(line, ["weight"], evaluator, 3, SIGMAS, draws=200, progress=False), inputs, targets


def test_the_loss_of_a_linear_model_rises_by_the_variance_of_its_outputs(
    measured: tuple[Criticality, torch.Tensor, torch.Tensor],
) -> None:
    """L + sigma^2 x outputs x mean |x|^2, at each alpha, within three standard errors (the bias is the end's)."""
    found, inputs, targets = measured
    start, end = linear(1), linear(2)
    for row, alpha in enumerate(found.alphas):
        weight = (1 - alpha) * start.weight + alpha * end.weight
        loss = ((inputs @ weight.T + end.bias - targets) ** 2).sum(1).mean().item()
        assert found.without["train", "squared_error"][row] == pytest.approx(loss, rel=1e-9)
        for column, sigma in enumerate(SIGMAS):
            draws = found.means["train", "squared_error"][row, column]
            expected = loss + sigma**2 * 3 * (inputs**2).sum(1).mean().item()
            assert abs(draws.mean() - expected) < 3 * draws.std(ddof=1) / math.sqrt(draws.size)
            assert len(set(draws.tolist())) == 200  # each draw has noise
    assert found.distance == pytest.approx((end.weight - start.weight).norm().item())
    assert found.provenance["largest_deviation_at_ends"]["end"] < 1e-9


def by_hand(means: np.ndarray, distance: float = 2.0) -> Criticality:
    alphas, sigmas = np.array([0.0, 0.5, 1.0]), np.array([0.5, 1.0])
    draws = np.stack([means - 0.1, means + 0.1], axis=2)
    key = ("train", "error")
    return Criticality(alphas, sigmas, {key: draws}, {key: np.array([9.0, 4.0, 1.0])}, distance)


def test_mu_is_the_smallest_of_what_is_within_the_bound() -> None:
    found = by_hand(np.array([[9.0, 9.0], [2.0, 5.0], [1.0, 3.0]]))
    assert found.end("error") == 1.0
    assert found.mu(1.0, "error")[:3] == (16.0, 1.0, 0.5)
    assert found.mu(2.0, "error")[:3] == (4.0, 0.5, 0.5)
    assert found.mu(3.0, ("train", "error"))[:3] == (4.0, 0.5, 0.5)  # as small as (1, 1): the first
    assert found.mu(5.0, "error")[:3] == (1.0, 0.5, 1.0)
    assert found.mu(9.0, "error")[:3] == (0.0, 0.0, 0.5)


def test_mu_says_how_far_the_draws_leave_it_open() -> None:
    found = by_hand(np.array([[9.0, 9.0], [2.0, 5.0], [1.0, 3.0]]))  # standard errors of 0.1
    assert found.mu(1.9, "error")[3:] == (4.0, 16.0)
    assert found.mu(2.1, "error")[3:] == (4.0, 16.0)
    assert found.mu(2.3, "error")[3:] == (4.0, 4.0)


def test_nothing_within_the_bound_and_values_that_are_no_numbers() -> None:
    found = by_hand(np.array([[math.nan, math.inf], [2.0, math.nan], [1.0, 3.0]]))
    value, *place, low, high = found.mu(0.5, "error")
    assert (value, low, high) == (math.inf, math.inf, math.inf)
    assert all(map(math.isnan, place))
    assert found.mu(9.0, "error")[:3] == (1.0 * 4.0, 0.5, 0.5)
    assert found.mu(math.nan, "error").value == math.inf


def test_it_is_read_back_and_shown(measured: tuple[Criticality, torch.Tensor, torch.Tensor]) -> None:
    found, *_ = measured
    again = Criticality.from_bytes(found.to_bytes())
    assert again.mu(9.0, "train") == found.mu(9.0, "train")
    assert again.frame().equals(found.frame())
    assert again.provenance == found.provenance
    assert found.frame().height == 3 * 4
    assert found.frame().filter(sigma=0.0)["standard_error"].null_count() == 3
    assert repr(found) == "<Criticality: 3 alphas, 3 sigmas: train/squared_error>"
    with pytest.raises(MeasureError, match="squared_error"):
        found.mu(1.0, "squared_eror")
    damaged = bytearray(found.to_bytes())
    damaged[-9] ^= 1
    with pytest.raises((ValueError, LookupError)):
        Criticality.from_bytes(bytes(damaged))
