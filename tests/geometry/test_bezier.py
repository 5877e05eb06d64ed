"""Quadratic Bezier curves between networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import linescape as ls
from linescape.geometry.bezier import Bezier
from linescape.geometry.paths import Line
from linescape.geometry.state import State


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


A, B, C = (State.from_module(network(seed)) for seed in range(3))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 1.0])
def test_it_is_the_formula(alpha: float) -> None:
    """By de Casteljau's construction: the line between points of two lines."""
    curve = Bezier(A, B, C)
    expected = ls.lerp(
        ls.lerp(A["0.weight"], B["0.weight"], alpha), ls.lerp(B["0.weight"], C["0.weight"], alpha), alpha
    )
    assert torch.allclose(curve.tensor("0.weight", alpha), expected, rtol=0, atol=1e-14)


def test_ends_are_exact_and_counters_are_the_ends() -> None:
    last = C.replace({"1.num_batches_tracked": torch.tensor(7)})
    curve = Bezier(A, B, last)
    for alpha, end in ((0.0, A), (1.0, last)):
        assert all(torch.equal(curve.at(alpha)[name], end[name]) for name in end)
    assert int(curve.tensor("1.num_batches_tracked", 0.5)) == 7
    assert not curve.straight
    assert not curve.given_by_ends
    assert curve.describe()["path"] == "Bezier"


def test_a_bend_in_the_middle_gives_the_line() -> None:
    curve, line = Bezier(A, Line(A, C).at(0.5), C), Line(A, C)
    for name in A.parameters:
        assert torch.allclose(curve.tensor(name, 0.3), line.tensor(name, 0.3), atol=1e-14)


def test_what_does_not_move_stays() -> None:
    curve = Bezier(A, B, C)
    assert "1.bias" not in curve.moving
    assert torch.equal(curve.tensor("1.bias", 0.4), A["1.bias"])


def test_spectral_vectors_are_those_of_the_weight_on_the_curve() -> None:
    def normed(seed: int) -> State:
        torch.manual_seed(seed)
        return State.from_module(nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4))).double())

    curve = Bezier(*map(normed, range(3)))
    weight = curve.tensor("0.parametrizations.weight.original", 0.4)
    vectors = [curve.tensor(name, 0.4) for name in sorted(curve.spectral)]
    u, v = sorted(vectors, key=len, reverse=True)
    assert float((u @ weight @ v).abs()) == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)))


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ls.LinescapeError, match="shape"):
        Bezier(A, State.from_module(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))), C)
