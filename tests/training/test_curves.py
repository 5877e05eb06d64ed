"""Curves that are trained between a user's own two networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import linescape as ls
from linescape.geometry.state import State

RANDOM = torch.Generator().manual_seed(0)
INPUTS = torch.randn(128, 2, generator=RANDOM)
TARGETS = (INPUTS.prod(1) > 0).long()  # not linearly separable
BATCHES = [(INPUTS[first : first + 32], TARGETS[first : first + 32]) for first in range(0, 128, 32)]


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 2))


def trained(seed: int) -> nn.Module:
    module = network(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        for inputs, targets in BATCHES:
            optimizer.zero_grad()
            F.cross_entropy(module(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return module


@pytest.fixture(scope="module")
def ends() -> tuple[nn.Module, nn.Module]:
    return trained(0), trained(1)


@pytest.mark.parametrize("kind", ["bezier", "chain"])
def test_a_trained_curve_has_a_lower_barrier_than_the_line(ends: tuple[nn.Module, nn.Module], kind: Any) -> None:
    before = [State.from_module(end) for end in ends]
    curve = ls.curve_between(*ends, ends[0], BATCHES, epochs=40, lr=0.2, kind=kind, momentum=0.0)
    evaluator = ls.Evaluator(ends[0], {"train": (INPUTS, TARGETS)})
    heights = [
        float(ls.shape.barrier_above_mean(walked.alphas, walked["train", "cross_entropy"].mean))
        for walked in (ls.scan(path, evaluator, ls.ScanOptions(alphas=11)) for path in (ls.Line(*ends), curve))
    ]
    assert heights[1] < 0.5 * heights[0]
    for end, state, alpha in zip(ends, before, (0.0, 1.0), strict=True):
        assert all(torch.equal(value, state[name]) for name, value in end.named_parameters()), "it is not changed"
        assert all(torch.equal(curve.tensor(name, alpha), state[name]) for name in state)


def test_it_repeats_to_the_bit_and_leaves_random_state_alone(ends: tuple[nn.Module, nn.Module]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (
        ls.curve_between(*ends, ends[0], BATCHES, epochs=2, lr=0.1, seed=seed).at(0.5) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "circle"}, "no curve of kind 'circle'"),
        ({"epochs": 0}, "1 epoch or more"),
        ({"lr": float("nan")}, "positive rate"),
        ({"batches": []}, "none in epoch 1"),
        ({"batches": iter(BATCHES)}, "none in epoch 2"),
        ({"lr": 1e20}, "Give a smaller lr"),
    ],
)
def test_what_cannot_be_trained_is_an_error(
    ends: tuple[nn.Module, nn.Module], given: dict[str, Any], message: str
) -> None:
    settings: dict[str, Any] = {"batches": BATCHES, "epochs": 2, "lr": 0.1} | given
    with pytest.raises(ls.LinescapeError, match=message):
        ls.curve_between(*ends, ends[0], settings.pop("batches"), **settings)


def test_networks_that_do_not_fit_are_refused(ends: tuple[nn.Module, nn.Module]) -> None:
    with pytest.raises(ls.LinescapeError, match="shape"):
        ls.curve_between(
            ends[0], nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 2)), ends[0], BATCHES, epochs=1, lr=0.1
        )
