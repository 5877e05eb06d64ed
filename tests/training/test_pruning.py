"""Pruning by magnitude, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from linescape.errors import RecipeError
from linescape.geometry.state import State
from linescape.training.loop import Checkpoint
from linescape.training.pruning import prunable, remaining, without
from linescape.training.what_is_trained import OfRemaining


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2))


NAMES = ("0.weight", "3.weight", "4.weight")
COUNT = 27 + 60 + 10


def test_weights_of_convolutions_and_linear_layers_are_pruned_and_nothing_else() -> None:
    assert prunable(network()) == NAMES
    assert prunable(nn.Linear(2, 2)) == ("weight",)
    last, again = nn.Linear(5, 2), nn.Linear(5, 2)
    again.weight = last.weight
    assert prunable(nn.Sequential(last, again)) == ("0.weight",)
    with pytest.raises(RecipeError, match="no convolution"):
        prunable(nn.Sequential(nn.BatchNorm1d(2)))


@pytest.mark.parametrize("density", [1.0, 0.8, 0.64, 0.05])
def test_the_largest_of_all_layers_together_are_left(density: float) -> None:
    state = State.from_module(network())
    masks = remaining(state, NAMES, density)
    values = np.concatenate([np.abs(state[name].numpy()).ravel() for name in NAMES])
    threshold = np.sort(values)[::-1][round(density * COUNT) - 1]
    for name in NAMES:
        assert np.array_equal(masks[name].numpy(), np.abs(state[name].numpy()) >= threshold)
    assert sum(int(mask.sum()) for mask in masks.values()) == round(density * COUNT)


def test_a_further_round_prunes_what_is_left() -> None:
    """Weights that are 0 since they were pruned are the smallest, also where others became 0 in training."""
    state = State.from_module(network())
    first = remaining(state, NAMES, 0.8)
    pruned = without(Checkpoint(state), first).state
    second = remaining(pruned, NAMES, 0.64)
    assert all(bool((first[name] | ~second[name]).all()) for name in NAMES)
    assert sum(int(mask.sum()) for mask in second.values()) == round(0.64 * COUNT)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_what_is_pruned_stays_0(kind: str) -> None:
    module = network()
    masks = remaining(State.from_module(module), NAMES, 0.3)
    without(Checkpoint(State.from_module(module)), masks).state.load_into(module)
    trained = OfRemaining(masks)
    parameters = trained.bind(module, 0.1).values()
    optimizer = torch.optim.SGD(parameters, 0.1, 0.9) if kind == "sgd" else torch.optim.Adam(parameters, 0.1)
    inputs, targets = torch.randn(8, 1, 4, 4), torch.arange(8) % 2
    for step in range(3):
        optimizer.zero_grad()
        with trained.step(step):
            F.cross_entropy(module(inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    weights = dict(module.named_parameters())
    for name in NAMES:
        assert bool((weights[name][~masks[name]] == 0).all())
        assert bool((weights[name][masks[name]] != 0).all())


def test_momenta_of_what_is_pruned_are_0_too() -> None:
    state = State.from_module(network())
    optimizer = {f"momentum_buffer/{name}": torch.ones_like(state[name]) for name in ("0.weight", "0.bias")}
    optimizer["step/0.weight"] = torch.tensor(3.0)
    masks = remaining(state, NAMES, 0.5)
    made = without(Checkpoint(state, 7, optimizer), masks)
    assert torch.equal(made.optimizer["momentum_buffer/0.weight"], masks["0.weight"].float())
    assert torch.equal(made.optimizer["momentum_buffer/0.bias"], torch.ones(3))
    assert float(made.optimizer["step/0.weight"]) == 3.0
    assert made.step == 7
