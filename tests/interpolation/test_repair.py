"""Paths whose units keep mean and deviation (REPAIR), against moments that numpy computes and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape import models, recipe
from linescape.errors import AlphaError, DataError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.repair import Repaired
from linescape.interpolation.scanning import scan


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


DATA = seeded(5, 60, 1, 12, 12), torch.arange(60) % 5


def pair(spec: Any) -> tuple[nn.Module, nn.Module]:
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = models.build(spec, (1, 12, 12), 5).eval()
        with torch.no_grad():
            for value in network.parameters():
                value.add_(0.1 * torch.randn_like(value))
        networks.append(network)
    return networks[0], networks[1]


def outputs(network: nn.Module, name: str, data: Tensor) -> np.ndarray:
    """Of a layer ``(examples x places, units)``, in float64 throughout."""
    seen: list[Tensor] = []
    double = network.double()
    handle = double.get_submodule(name).register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    double(data.double())
    handle.remove()
    return seen[0].movedim(1, -1).flatten(0, -2).numpy()


def with_state(spec: Any, state: State) -> nn.Module:
    network = models.build(spec, (1, 12, 12), 5).eval()
    state.load_into(network)
    return network


SPECS = [recipe.MLP(hidden=(12, 10, 8)), recipe.VGG(depth=11, width=2, norm="none", head="cifar")]


@pytest.mark.parametrize("spec", SPECS)
def test_each_hidden_unit_has_the_mean_and_deviation_between_those_of_the_ends(spec: Any) -> None:
    a, b = pair(spec)
    path = Repaired(Line(a, b), Evaluator(a, {"train": DATA}, batch_size=25))
    between = with_state(spec, path.at(0.3))
    assert len(path.layers) == {"MLP": 3, "VGG": 8}[type(spec).__name__]
    assert path.left_alone == ()
    for name in path.layers:
        at_a, at_b, found = (outputs(network, name, DATA[0]) for network in (a, b, between))
        for moment in (np.mean, np.std):
            expected = 0.7 * moment(at_a, axis=0) + 0.3 * moment(at_b, axis=0)
            np.testing.assert_allclose(moment(found, axis=0), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_at_both_ends_nothing_is_to_be_corrected(spec: Any) -> None:
    a, b = pair(spec)
    line = Line(a, b)
    path = Repaired(line, Evaluator(a, {"train": DATA}, batch_size=25))
    for alpha in (0.0, 1.0):
        assert all(torch.equal(path.tensor(name, alpha), line.tensor(name, alpha)) for name in line.template)
        for name, tensor in path._corrected(alpha).items():  # computed there, it is the end but for rounding
            torch.testing.assert_close(tensor, line.tensor(name, alpha), rtol=1e-5, atol=1e-6)


def test_a_network_of_opposite_units_has_its_variance_again() -> None:
    """Two independent directions of unit variance: their mean has 1 / sqrt(2) of the deviation, and gets it back."""
    inputs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    networks = []
    for row in ([1.0, 0.0], [0.0, 1.0]):
        first = nn.Linear(2, 1)
        first.load_state_dict({"weight": torch.tensor([row]), "bias": torch.tensor([2.0])})
        networks.append(nn.Sequential(first, nn.Tanh(), nn.Linear(1, 2)))
    path = Repaired(Line(*networks), Evaluator(networks[0], {"train": (inputs, torch.tensor([0, 1, 0, 1]))}))
    torch.testing.assert_close(path.tensor("0.weight", 0.5), torch.tensor([[0.5, 0.5]]) * 2**0.5)
    torch.testing.assert_close(path.tensor("0.bias", 0.5), torch.tensor([2.0]))


def test_a_unit_that_is_constant_is_shifted_alone() -> None:
    networks = []
    for sign, bias in ((1.0, 4.0), (-1.0, 2.0)):
        first = nn.Linear(3, 2)
        first.load_state_dict({"weight": sign * torch.ones(2, 3), "bias": torch.full((2,), bias)})
        networks.append(nn.Sequential(first, nn.ReLU(), nn.Linear(2, 2)))
    a, b = networks
    path = Repaired(Line(a, b), Evaluator(a, {"train": (seeded(1, 30, 3), torch.zeros(30, dtype=torch.long))}))
    assert not path.tensor("0.weight", 0.5).any()
    torch.testing.assert_close(path.tensor("0.bias", 0.5), torch.full((2,), 3.0))


def test_it_is_scanned_as_any_path_and_says_what_is_corrected() -> None:
    a, b = pair(SPECS[0])
    evaluator = Evaluator(a, {"train": DATA})
    path = Repaired(Line(a, b), evaluator)
    curve = scan(path, evaluator, ScanOptions(alphas=3))
    direct = Evaluator(with_state(SPECS[0], path.at(0.5)), {"train": DATA})(path.at(0.5))
    np.testing.assert_allclose(curve["cross_entropy"].values[1], direct["train", "cross_entropy"], rtol=1e-5)
    assert curve.provenance["path"] == "Repaired"
    assert curve.provenance["rescaled"] == list(path.layers)
    still = Repaired(Line(a, State.from_module(a)), evaluator)
    assert not still.moving
    assert all(torch.equal(still.tensor(name, 0.5), value) for name, value in State.from_module(a).items())


def test_layers_without_a_bias_or_with_several_calls_are_left_alone_and_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.twice = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
            self.once, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.once(self.twice(self.twice(self.plain(x)))))
            return out

    path = Repaired(
        Line(Odd(), Odd()), Evaluator(Odd(), {"train": (seeded(2, 9, 4), torch.zeros(9, dtype=torch.long))})
    )
    assert (path.layers, path.left_alone) == (("once",), ("plain", "twice"))


def test_what_cannot_be_repaired_is_refused() -> None:
    a, b = pair(SPECS[0])
    path = Repaired(Line(a, b), Evaluator(a, {"train": DATA}))
    with pytest.raises(AlphaError, match="positions from 0 to 1"):
        path.at(1.1)
    with pytest.raises(DataError, match="fewer than two"):
        Repaired(Line(a, b), Evaluator(a, {"train": (DATA[0][:1], DATA[1][:1])}))
    normed = models.build(recipe.VGG(depth=11, width=2), (1, 12, 12), 5)
    with pytest.raises(StateError, match="recalibrate"):
        Repaired(Line(normed, State.from_module(normed)), Evaluator(normed, {"train": DATA}))
    single = nn.Sequential(nn.Flatten(), nn.Linear(144, 5))
    with pytest.raises(StateError, match="No hidden layer"):
        Repaired(Line(single, State.from_module(single)), Evaluator(single, {"train": DATA}))
