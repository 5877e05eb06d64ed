"""Lines on which each bias moves at the power of alpha that its layer's signal has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from linescape.errors import StateError
from linescape.geometry.homogeneous import Homogeneous, powers
from linescape.geometry.paths import Line
from linescape.geometry.state import State


def network(depth: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(4, 4), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0, 1.4])
def test_from_zeros_outputs_are_a_power_of_alpha(depth: int, alpha: float) -> None:
    """A ReLU network with biases at their powers is homogeneous: f(alpha) = alpha^depth f(1)."""
    end = network(depth, 0)
    zeros = State.from_module(end).replace(
        {name: torch.zeros_like(value) for name, value in State.from_module(end).items()}
    )
    path = Homogeneous(zeros, State.from_module(end), powers(end))
    there = network(depth, 1)
    there.load_state_dict(path.at(alpha).state_dict())
    inputs = torch.randn(20, 4, dtype=torch.float64)
    torch.testing.assert_close(there(inputs), alpha**depth * end(inputs), rtol=1e-12, atol=1e-14)


def test_only_biases_leave_the_straight_line() -> None:
    start, end = (State.from_module(network(3, seed)) for seed in (0, 1))
    path, line = Homogeneous(start, end, powers(network(3, 0))), Line(start, end)
    assert not path.straight
    for name in end:
        same = torch.equal(path.tensor(name, 0.4), line.tensor(name, 0.4))
        assert same == (not name.endswith("bias") or name == "0.bias")
        for alpha in (0.0, 1.0):
            assert torch.equal(path.tensor(name, alpha), line.tensor(name, alpha))
        into = torch.empty_like(end[name])
        path.write(name, 0.4, into)
        assert torch.equal(into, path.tensor(name, 0.4))


def test_biases_of_norm_layers_belong_to_the_layer_before() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2))
    assert powers(module) == {"0.bias": 1, "1.bias": 1, "3.bias": 2}


def test_biases_of_any_name_are_found() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 3), nn.MultiheadAttention(4, 2))
    lstm = dict.fromkeys(("1.bias_ih_l0", "1.bias_hh_l0"), 2)
    assert powers(module) == {"0.bias": 1, **lstm, "2.in_proj_bias": 3, "2.out_proj.bias": 4}


@pytest.mark.parametrize("wrong", [{"nothing": 2}, {"0.bias": 0}])
def test_impossible_powers_are_refused(wrong: dict[str, int]) -> None:
    start, end = (State.from_module(network(2, seed)) for seed in (0, 1))
    with pytest.raises(StateError, match="The powers are"):
        Homogeneous(start, end, wrong)
