"""Lines whose loss is known exactly, walked in float64 (facts of linear algebra, no data needed)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import squared_error
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found: ArrayLike, exact: ArrayLike) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(exact), rtol=1e-12, atol=1e-12)


def mean_square(residual: Tensor) -> float:
    return float(residual.square().sum(1).mean())


def test_a_linear_models_line_is_a_parabola() -> None:
    x, y = numbers(20, 4, seed=0), numbers(20, 3, seed=1)
    net = nn.Linear(4, 3, bias=False).double()
    start, end = (State({"weight": numbers(3, 4, seed=seed)}) for seed in (2, 3))
    curve = scan(Line(start, end), Evaluator(net, {"train": (x, y)}, [squared_error]), ScanOptions(alphas=50))
    residual, direction = x @ start["weight"].T - y, x @ (end["weight"] - start["weight"]).T
    c0, c1, c2 = residual.square().sum(1), 2 * (residual * direction).sum(1), direction.square().sum(1)
    exact = np.stack([(c0 + a * c1 + a * a * c2).numpy() for a in curve.alphas])
    close(curve["train"].values, exact)
    close(curve["train"].mean, exact.mean(1))


def test_a_quadratic_falls_as_the_square_of_the_rest_of_the_way() -> None:
    # L = 1/2 (t - t*)' H (t - t*) with the end at t*: L(alpha) = (1 - alpha)^2 L(0).
    x = numbers(30, 5, seed=0)
    net = nn.Linear(5, 1, bias=False).double()
    start, end = (State({"weight": numbers(1, 5, seed=seed)}) for seed in (1, 2))
    y = x @ end["weight"].T
    losses = scan(Line(start, end), Evaluator(net, {"train": (x, y)}, [squared_error]), ScanOptions(alphas=50))[
        "train"
    ].mean
    close(losses, (1 - np.linspace(0, 1, 50)) ** 2 * losses[0])


def test_a_two_layer_linear_network_gives_a_quartic_and_layer_wise_parabolas() -> None:
    x, y = numbers(20, 4, seed=0), numbers(20, 3, seed=1)
    net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)).double()
    start, end = (
        State({"0.weight": numbers(6, 4, seed=seed), "1.weight": numbers(3, 6, seed=seed + 10)}) for seed in (2, 3)
    )
    a1, a2, b1, b2 = start["0.weight"], start["1.weight"], end["0.weight"], end["1.weight"]
    d1, d2 = b1 - a1, b2 - a2
    evaluator = Evaluator(net, {"train": (x, y)}, [squared_error])
    line = Line(start, end)

    whole = scan(line, evaluator, ScanOptions(alphas=50))
    product = [a2 @ a1, a2 @ d1 + d2 @ a1, d2 @ d1]  # W2 W1 as a polynomial in alpha
    exact = [mean_square(x @ (product[0] + a * product[1] + a * a * product[2]).T - y) for a in whole.alphas]
    close(whole["train"].mean, exact)
    quartic = np.polynomial.Polynomial.fit(whole.alphas, whole["train"].mean, 4)
    np.testing.assert_allclose(quartic(whole.alphas), whole["train"].mean, rtol=1e-9)

    first = scan(Only(line, ["0.weight"]), evaluator, ScanOptions(alphas=50))
    exact = [mean_square(x @ (b2 @ (a1 + a * d1)).T - y) for a in first.alphas]
    close(first["train"].mean, exact)
    second = scan(Only(line, ["1.weight"], fixed=start), evaluator, ScanOptions(alphas=50))
    exact = [mean_square(x @ ((a2 + a * d2) @ a1).T - y) for a in second.alphas]
    close(second["train"].mean, exact)
    last = scan(Only(line, ["1.weight"]), evaluator, ScanOptions(alphas=50))
    both = scan(Only(line, ["0.weight", "1.weight"]), evaluator, ScanOptions(alphas=50))
    for layer_wise in (first, last, both):
        assert np.array_equal(layer_wise["train"].values[-1], whole["train"].values[-1]), "all meet at the end"
    assert np.array_equal(both["train"].values, whole["train"].values), "all layers together are the whole line"


@pytest.mark.parametrize("depth", [1, 2, 5, 9])
def test_a_chain_of_scalars_from_zero_grows_as_alpha_to_the_depth(depth: int) -> None:
    net = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(depth))).double()
    end = State({f"{i}.weight": numbers(1, 1, seed=i) for i in range(depth)})
    start = end.replace({name: torch.zeros_like(value) for name, value in end.items()})
    x = torch.ones(1, 1, dtype=torch.float64)

    def output(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs[:, 0]

    curve = scan(Line(start, end), Evaluator(net, {"unit": (x, x)}, [output]), ScanOptions(alphas=50))
    final = math.prod(float(end[f"{i}.weight"]) for i in range(depth))
    close(curve["unit"].mean, curve.alphas**depth * final)


def test_permuted_hidden_units_keep_the_end_and_change_the_path() -> None:
    x, y = numbers(20, 4, seed=0), numbers(20, 3, seed=1)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    start = State.from_module(net)
    end = start.replace({name: numbers(*value.shape, seed=i) for i, (name, value) in enumerate(start.items())})
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = end.replace(
        {
            "0.weight": end["0.weight"][order],
            "0.bias": end["0.bias"][order],
            "2.weight": end["2.weight"][:, order],
        }
    )
    evaluator = Evaluator(net, {"train": (x, y)}, [squared_error])
    plain, moved = (scan(Line(start, to), evaluator, ScanOptions(alphas=11))["train"].mean for to in (end, permuted))
    close(plain[-1], moved[-1])
    assert np.abs(plain[5] - moved[5]) > 1e-3
