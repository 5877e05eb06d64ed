"""A trained BatchNorm ResNet's line against a loop written out in float64, and its ends against the checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linescape import data, models
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.groups import by_block
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.recipe import Data, Optimizer, Random, Recipe, ResNet, Schedule
from linescape.training.loop import train

RECIPE = Recipe(
    data=Data("fashion-mini", size=14, fraction=0.1, augment="crop-flip"),
    model=ResNet(depth=8, width=8),
    optimizer=Optimizer(lr=0.1, batch_size=64),
    schedule=Schedule(epochs=3),
)
Trained = tuple[models.Network, State, State, Tensor, Tensor]


@pytest.fixture(scope="module")
def trained() -> Trained:
    dataset = data.load(RECIPE.data)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    start = State.from_module(network)
    end = start
    for progress in train(RECIPE, dataset, start):
        if progress.step == progress.steps:
            end = progress.checkpoint().state
    inputs, targets = dataset.normalise(dataset.test.inputs[:100]), dataset.test.targets[:100]
    return network, start, end, inputs, targets


def in_float64(trained: Trained, alpha: float, moving: set[str]) -> float:
    """Mean loss at alpha: state dicts mixed by the textbook formula in float64, loaded into a float64 network."""
    _, start, end, inputs, targets = trained
    a, b = start.state_dict(), end.state_dict()
    mixed = {
        name: (1 - alpha) * a[name].double() + alpha * b[name].double() if name in moving else b[name] for name in b
    }
    network = models.build(RECIPE.model, (1, 14, 14), 10).double()
    network.load_state_dict({name: mixed[name] if b[name].is_floating_point() else b[name] for name in b})
    network.eval()
    with torch.no_grad():
        return float(F.cross_entropy(network(inputs.double()), targets))


@pytest.mark.parametrize(
    "block", ["", "layer2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("stem", "fc"))]
)
def test_the_curve_agrees_with_float64_at_all_alphas(trained: Trained, block: str) -> None:
    network, start, end, inputs, targets = trained
    line = Line(start, end)
    path = Only(line, by_block(network)[block]) if block else line
    curve = scan(path, Evaluator(network, {"test": (inputs, targets)}, [cross_entropy]), ScanOptions(alphas=50))
    moving = set(by_block(network)[block]) if block else set(end)
    exact = [in_float64(trained, float(alpha), moving) for alpha in curve.alphas]
    np.testing.assert_allclose(curve["test"].mean, exact, rtol=1e-5, atol=1e-6)


def test_both_ends_are_the_checkpoints_own_losses(trained: Trained) -> None:
    network, start, end, inputs, targets = trained
    curve = scan(
        Line(start, end), Evaluator(network, {"test": (inputs, targets)}, [cross_entropy]), ScanOptions(alphas=2)
    )
    for index, state in enumerate((start, end)):
        fresh = models.build(RECIPE.model, (1, 14, 14), 10)
        fresh.load_state_dict(state.state_dict())
        fresh.eval()
        with torch.no_grad():
            batches = zip(torch.split(inputs, 250), torch.split(targets, 250), strict=True)
            own = torch.cat([F.cross_entropy(fresh(x), y, reduction="none") for x, y in batches])
        assert np.array_equal(curve["test"].values[index], own.numpy())
