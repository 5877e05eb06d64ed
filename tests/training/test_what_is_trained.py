"""Weights that follow from what is trained, compared with autograd through the formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from linescape.errors import RecipeError
from linescape.geometry.bezier import Bezier
from linescape.geometry.paths import Bend, Line, Path
from linescape.geometry.state import State
from linescape.recipe import Subspace
from linescape.training.what_is_trained import COEFFICIENTS, COORDINATES, OfCurve, OfSubspace

INPUTS, TARGETS = (
    torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    torch.arange(6) % 2,
)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


@pytest.mark.parametrize("kind", ["bezier", "chain"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_are_those_of_the_bend(kind: str, seed: int) -> None:
    """With a decay that is a penalty on the weights on the curve."""
    start, end = (State.from_module(network(number)) for number in (1, 2))
    module, decay = network(3), 0.1
    before = State.from_module(module)
    of_curve = OfCurve(start, end, kind)  # type: ignore[arg-type]
    of_curve.bind(module, decay)
    with of_curve.step(seed):
        at = {name: value.detach().clone() for name, value in module.named_parameters()}
        F.cross_entropy(module(INPUTS), TARGETS).backward()  # type: ignore[no-untyped-call]
    position = float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    curve: Path = Bezier(start, before, end) if kind == "bezier" else Bend([start, before, end])
    assert all(torch.allclose(at[name], curve.tensor(name, position), rtol=0, atol=1e-14) for name in at)
    assert all(torch.equal(value, before[name]) for name, value in module.named_parameters())

    bend = {name: value.clone().requires_grad_() for name, value in before.parameters.items()}
    of_start, of_bend, of_end = COEFFICIENTS[kind](position)
    weights = {name: of_start * start[name] + of_bend * bend[name] + of_end * end[name] for name in bend}
    loss = F.cross_entropy(functional_call(module, weights, (INPUTS,)), TARGETS)
    loss = loss + decay / 2 * sum((weight**2).sum() for weight in weights.values())
    expected = torch.autograd.grad(loss, list(bend.values()))
    for parameter, gradient in zip(module.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", COEFFICIENTS)
def test_shares_add_to_1_and_are_0_at_the_other_end(kind: str) -> None:
    of = COEFFICIENTS[kind]
    assert of(0.0) == (1.0, 0.0, 0.0)
    assert of(1.0) == (0.0, 0.0, 1.0)
    assert sum(of(0.3)) == pytest.approx(1.0)
    middle = (0.25, 0.5, 0.25) if kind == "bezier" else (0.0, 1.0, 0.0)
    assert of(0.5) == middle


def test_positions_are_uniform() -> None:
    """At most as far from uniform as one of a thousand samples of 2000 is, by Kolmogorov and Smirnov."""
    from scipy import stats

    of_curve = OfCurve(State.from_module(network(1)), State.from_module(network(2)), "chain")
    seen: list[float] = []
    of_curve.bind(network(3), 0.0)
    of_curve.coefficients = lambda at: (seen.append(at), (0.0, 1.0, 0.0))[1]  # type: ignore[func-returns-value]
    for seed in range(2000):
        with of_curve.step(seed):
            pass
    assert stats.kstest(seen, "uniform").pvalue > 1e-3


def test_a_line_is_needed_between_the_ends() -> None:
    start = State.from_module(network(0))
    with pytest.raises(ValueError, match="NaN"):
        OfCurve(start, start.replace({"0.bias": torch.full((4,), torch.nan).double()}), "bezier")
    assert Line(start, start).moving == frozenset()


@pytest.mark.parametrize("name", ["dense", "sparse", "fastfood"])
def test_gradients_are_those_of_the_coordinates(name: str) -> None:
    """Compared with autograd through the map, away from the start, with a decay of the weights."""
    start, module, decay = State.from_module(network(1)), network(1), 0.1
    of = OfSubspace(start, Subspace(5, name), seed=3)  # type: ignore[arg-type]
    coordinates = of.bind(module, decay)[COORDINATES]
    coordinates.data += torch.arange(5) / 3
    of.settle()
    with of.step(0):
        F.cross_entropy(module(INPUTS), TARGETS).backward()  # type: ignore[no-untyped-call]
    matrix = torch.stack([of.projection(row) for row in torch.eye(5, dtype=torch.float64)], dim=1)
    x = coordinates.detach().clone().requires_grad_()
    flat = torch.cat([value.flatten() for value in start.parameters.values()]) + matrix @ x
    weights, first = {}, 0
    for key, value in start.parameters.items():
        weights[key] = flat[first : first + value.numel()].view(value.shape)
        first += value.numel()
    assert all(torch.allclose(value, weights[key], rtol=0, atol=1e-12) for key, value in module.named_parameters())
    loss = F.cross_entropy(functional_call(module, weights, (INPUTS,)), TARGETS) + decay / 2 * (flat**2).sum()
    (expected,) = torch.autograd.grad(loss, x)
    assert coordinates.grad is not None
    assert torch.allclose(coordinates.grad, expected, rtol=0, atol=1e-12)


def test_more_coordinates_than_weights_are_refused() -> None:
    module = network(1)
    with pytest.raises(RecipeError, match="the network has 26 weights"):
        OfSubspace(State.from_module(module), Subspace(27), 0).bind(module, 0.0)
    with pytest.raises(RecipeError, match="one coordinate or more"):
        Subspace(0)
