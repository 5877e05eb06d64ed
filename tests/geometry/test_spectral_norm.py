"""Spectral norm: between two networks the weight is divided by its own norm, whatever the buffers at the ends are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from linescape.evaluation.evaluator import Evaluator
from linescape.geometry import paths as geometry
from linescape.geometry.paths import Line, Only, Ray
from linescape.geometry.spectral_norm import normed
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

pytestmark = pytest.mark.filterwarnings("ignore:.*spectral_norm.*")
FORMS: dict[str, Callable[[nn.Module], Any]] = {
    "hook": nn.utils.spectral_norm,
    "parametrization": parametrizations.spectral_norm,
}
LAYERS: dict[str, Callable[[], Any]] = {
    "linear": lambda: nn.Linear(7, 5),
    "square": lambda: nn.Linear(7, 7),
    "conv": lambda: nn.Conv1d(7, 4, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose1d(7, 7, 3, padding=1),  # u belongs to the second axis, of equal length
}


class Net(nn.Module):
    def __init__(self, wrap: Callable[[nn.Module], Any], layer: Callable[[], Any]) -> None:
        super().__init__()
        self.normed, self.head = wrap(layer()), nn.LazyLinear(3)

    def forward(self, x: Any) -> Any:
        x = x if self.normed.weight.ndim == 2 else x.unsqueeze(2).expand(-1, -1, 4)
        return self.head(4 * self.normed(x).flatten(1))


def trained(form: str, layer: str, passes: int = 5) -> tuple[Net, Net, Tensor, Tensor]:
    torch.manual_seed(1)
    inputs, targets = torch.randn(30, 7), torch.randint(0, 3, (30,))
    networks = [Net(FORMS[form], LAYERS[layer]) for _ in "ab"]
    for network in networks:
        with torch.no_grad():
            for _ in range(passes):
                network.train()(inputs)
        network.eval()
    return networks[0], networks[1], inputs, targets


def converged(network: Net, state: State, inputs: Tensor, targets: Tensor) -> float:
    """The loss in float64 after so many power iterations that the vectors are those of the weight."""
    network = copy.deepcopy(network)
    network.load_state_dict(state.state_dict())
    network.double().train()
    with torch.no_grad():
        for _ in range(500):
            network(inputs.double())
        return F.cross_entropy(network.eval()(inputs.double()), targets).item()


@pytest.mark.parametrize("fast", [None, True])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", FORMS)
def test_between_the_ends_the_norm_is_that_of_the_weight(form: str, layer: str, fast: bool | None) -> None:
    start, end, inputs, targets = trained(form, layer)
    line = Line(State.from_module(start), State.from_module(end))
    evaluator = Evaluator(start, {"test": (inputs, targets)}, fast=fast)
    weight = normed(line.template)[0].weight
    ray = Ray(State.from_module(start), {weight: torch.randn_like(start.state_dict()[weight])})
    every: list[geometry.Path] = [line, Only(line, [weight]), Only(line, line.template.keys() - {weight}), ray]
    for path in every:
        curve = scan(path, evaluator, ScanOptions(alphas=(0.0, 0.25, 0.6, 1.0)))
        losses = curve["test", "cross_entropy"].mean
        moving = every[2] is not path
        for alpha, loss in list(zip(curve.alphas, losses, strict=True))[1:3] if moving else []:
            raw = path.at(float(alpha))
            assert loss == pytest.approx(converged(start, raw, inputs, targets), rel=1e-4)
        assert bool(curve.provenance.get("found_anew")) == moving
        first = copy.deepcopy(start)
        first.load_state_dict(path.at(0.0).state_dict())
        with torch.no_grad():
            assert losses[0] == pytest.approx(F.cross_entropy(first(inputs), targets).item(), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_ends_keep_their_own_vectors(form: str) -> None:
    start, end, _, _ = trained(form, "linear", passes=1)
    first, last = State.from_module(start), State.from_module(end)
    line = Line(first, last)
    for name in line.spectral:
        assert torch.equal(line.tensor(name, 0.0), first[name])
        assert torch.equal(line.tensor(name, 1.0), last[name])
        assert torch.linalg.vector_norm(line.tensor(name, 0.4)).item() == pytest.approx(1.0, rel=1e-6)
    assert not Line(first, first).moving


def test_a_scan_that_is_kept_goes_on(tmp_path: Path) -> None:
    start, end, inputs, targets = trained("hook", "linear")
    line = Line(State.from_module(start), State.from_module(end))
    evaluator = Evaluator(start, {"test": (inputs, targets)})
    options = ScanOptions(alphas=5, keep=tmp_path)
    first, again = (scan(line, evaluator, options)["test", "cross_entropy"].values for _ in range(2))
    assert np.array_equal(first, again)
