"""Measures are tried on a few examples: what they read besides outputs and targets, and whether examples act."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.checkpoints.comparing import compare
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

ALPHAS = (0.0, 0.3, 0.5, 0.8, 1.0)
ACT = "without the others of its batch"


def networks(outputs: int = 3) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    first, last = (nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs)) for _ in range(2))
    return first, last


def by_hand(
    start: nn.Module, end: nn.Module, batches: Any, values: Callable[[nn.Module, Tensor, Tensor], Tensor]
) -> np.ndarray:
    """Mean values at `ALPHAS` of networks in float64, batch by batch."""
    means = []
    for alpha in ALPHAS:
        network = copy.deepcopy(end).double().eval()
        ends = start.state_dict(), end.state_dict()
        mixed = {name: (1 - alpha) * ends[0][name].double() + alpha * ends[1][name].double() for name in ends[1]}
        network.load_state_dict(mixed)
        with torch.no_grad():
            means.append(torch.cat([values(network, x.double(), y) for x, y in batches]).mean().item())
    return np.array(means)


def line(start: nn.Module, end: nn.Module, data: Any, measure: Any, **settings: Any) -> Curve:
    evaluator = Evaluator(end, {"d": data}, {"m": measure}, **settings)
    return scan(Line(start, end), evaluator, ScanOptions(alphas=ALPHAS))


def penalty(network: nn.Module) -> Tensor:
    return 0.05 * torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum()


class Penalised:
    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none") + penalty(self.network)


@pytest.mark.parametrize("form", ["closure", "object", "partial"])
@pytest.mark.parametrize("fast", [None, True])
def test_a_measure_of_the_networks_own_weights_has_those_of_each_position(form: str, fast: bool | None) -> None:
    start, end = networks()

    def penalised(outputs: Tensor, targets: Tensor, network: nn.Module = end) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none") + penalty(network)

    measure = {
        "closure": lambda outputs, targets: penalised(outputs, targets, end),
        "object": Penalised(end),
        "partial": partial(penalised, network=end),
    }[form]
    inputs, targets = torch.randn(20, 6), torch.randint(3, (20,))
    before = copy.deepcopy(end.state_dict())
    curve = line(start, end, (inputs, targets), measure, fast=fast)

    def expected(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(network(x), y, reduction="none") + penalty(network)

    np.testing.assert_allclose(
        curve["d", "m"].mean, by_hand(start, end, [(inputs, targets)], expected), rtol=1e-5, atol=0
    )
    assert any("a measure reads its weights" in note for note in curve.provenance["notes"])
    assert all(torch.equal(before[name], value) for name, value in end.state_dict().items())


def test_weights_of_another_network_in_a_measure_are_told() -> None:
    start, end = networks()
    data = torch.randn(20, 6), torch.randint(3, (20,))
    probe = compare(start, end, data, measures={"m": Penalised(start)}, options=ScanOptions(alphas=3))
    assert any("reads weights that are not those of the network that is walked" in note for note in probe.notes)
    weight = torch.ones(3)  # a constant is none
    for constant in (lambda o, t: F.cross_entropy(o, t, weight, reduction="none"), cross_entropy):
        assert compare(start, end, data, measures={"m": constant}, options=ScanOptions(alphas=3)).notes == ()


def in_batch(outputs: Tensor, _targets: Tensor) -> Tensor:
    """Each example's likelihood among the others of its batch."""
    rows = F.normalize(outputs, dim=1)
    return F.cross_entropy(5 * rows @ rows.roll(1, 0).T, torch.arange(len(rows)), reduction="none")


@pytest.mark.parametrize("fast", [None, True])
@pytest.mark.parametrize("as_tensors", [True, False])
def test_a_measure_that_compares_examples_keeps_their_batches_and_is_told(fast: bool | None, as_tensors: bool) -> None:
    start, end = networks()
    inputs, targets = torch.randn(80, 6), torch.randint(3, (80,))
    batches = [(inputs[i : i + 20], targets[i : i + 20]) for i in range(0, 80, 20)]
    curve = line(start, end, (inputs, targets) if as_tensors else batches, in_batch, batch_size=20, fast=fast)
    expected = by_hand(start, end, batches, lambda network, x, y: in_batch(network(x), y))
    np.testing.assert_allclose(curve["d", "m"].mean, expected, rtol=1e-5, atol=0)
    assert any(ACT in note for note in curve.provenance["notes"])


def test_shapes_that_are_broadcast_by_mistake_and_means_of_batches_are_told() -> None:
    start, end = networks(1)
    data = torch.randn(20, 6), torch.randn(20)
    for measure in (
        lambda outputs, targets: (outputs - targets).square().mean(1),  # (20, 1) against (20,)
        lambda outputs, targets: F.mse_loss(outputs.squeeze(1), targets).expand(len(targets)),
    ):
        assert any(ACT in note for note in line(start, end, data, measure).provenance["notes"])
    right = line(start, end, data, lambda outputs, targets: (outputs.squeeze(1) - targets).square())
    assert right.provenance["notes"] == []


def test_targets_that_are_places_in_the_batch_are_told() -> None:
    start, end = networks()
    batches = [(torch.randn(12, 6), torch.arange(12)) for _ in range(2)]

    def places(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs @ outputs.T, targets, reduction="none")

    assert any(ACT in note for note in line(start, end, batches, places).provenance["notes"])
