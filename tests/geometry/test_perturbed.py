"""Networks with noise: which tensors get it, how large it is, and that each draw is new and comes again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from linescape.errors import AlphaError, GroupError, StateError
from linescape.geometry.paths import Line, Only
from linescape.geometry.perturbed import Perturbed, Visit

ALPHAS, SIGMAS = (0.0, 0.25, 1.0), (0.5, 2.0)


def network(seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 40), nn.BatchNorm1d(40), nn.Linear(40, 2))


def path(draws: int = 3, seed: int = 0) -> Perturbed:
    line = Line(network(1), network(2))
    names = [name for name in line.template if name.startswith(("0.", "1."))]
    return Perturbed(Only(line, names), names, ALPHAS, SIGMAS, draws, seed)


def noise(walk: Perturbed, position: float, visit: Visit, name: str = "0.weight") -> torch.Tensor:
    return (walk.tensor(name, position) - walk.path.tensor(name, visit.alpha)) / (visit.sigma or 1.0)


def test_all_alphas_and_sigmas_are_visited_with_each_draw_and_once_without_noise() -> None:
    visits = path().visits
    assert len(set(visits)) == len(visits) == 3 + 3 * 3 * 2
    assert (visits[0], visits[-1]) == ((0.0, 0.0, 0), (1.0, 0.0, 0))
    assert {visit.alpha for visit in visits if not visit.sigma} == set(ALPHAS)


def test_every_draw_has_noise_of_its_own_and_all_alphas_and_sigmas_the_same() -> None:
    """A published implementation adds none from its second draw on, as an iterator is used up by the first."""
    walk = path()
    drawn: dict[int, list[torch.Tensor]] = {}
    for position, visit in zip(walk.positions, walk.visits, strict=True):
        if visit.sigma:
            drawn.setdefault(visit.draw, []).append(noise(walk, position, visit))
        else:
            assert not noise(walk, position, visit).any()
    for same in drawn.values():
        for other in same[1:]:
            torch.testing.assert_close(other, same[0], rtol=1e-4, atol=1e-5)
    first = [same[0] for same in drawn.values()]
    assert all(0.8 < each.std() < 1.2 for each in first)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    weight, bias = (noise(walk, walk.positions[3], walk.visits[3], name) for name in ("1.weight", "0.bias"))
    assert not torch.allclose(weight, bias)


def test_a_draw_is_the_same_in_whatever_order_it_is_asked_for() -> None:
    walk, again = path(), path()
    places = [3, 20, 9, 3]
    for place in reversed(places):
        assert torch.equal(
            again.tensor("0.weight", again.positions[place]), path().tensor("0.weight", walk.positions[place])
        )
    assert not torch.equal(path(seed=1).at(walk.positions[3])["0.weight"], walk.at(walk.positions[3])["0.weight"])


def test_statistics_and_other_modules_get_no_noise() -> None:
    walk = path()
    for position, visit in zip(walk.positions, walk.visits, strict=True):
        for name in ("1.running_var", "2.weight", "1.num_batches_tracked"):
            assert torch.equal(walk.tensor(name, position), walk.path.tensor(name, visit.alpha))
    assert {"1.weight", "0.weight", "0.bias", "1.bias"} <= walk.moving


def test_parameters_at_rest_get_noise_and_half_precision_is_rounded_once() -> None:
    one = nn.Linear(2, 2).to(torch.bfloat16)
    walk = Perturbed(Line(one, copy.deepcopy(one)), ["weight"], (0.0, 1.0), (0.5,), 2)
    exact = one.weight.float() + 0.5 * walk._draw(0)["weight"]
    assert torch.equal(walk.tensor("weight", walk.positions[1]), exact.bfloat16())


def test_what_cannot_get_noise_is_refused() -> None:
    line = Line(network(1), network(2))
    for names in (["1.running_mean"], [], ["none"], "0.weight"):
        with pytest.raises(GroupError):
            Perturbed(line, names, ALPHAS, SIGMAS)
    grids = [((0.0, 0.5), SIGMAS, 2), (ALPHAS, (0.0, 1.0), 2), (ALPHAS, (2.0, 1.0), 2), (ALPHAS, (), 2)]
    for alphas, sigmas, draws in [*grids, (ALPHAS, SIGMAS, 1), (ALPHAS, (1.0, float("inf")), 2)]:
        with pytest.raises(AlphaError):
            Perturbed(line, ["0.weight"], alphas, sigmas, draws)
    spectral = [nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 3))) for _ in range(2)]
    with pytest.raises(StateError, match="spectral"):
        Perturbed(Line(*spectral), ["0.parametrizations.weight.original"], ALPHAS, SIGMAS)
