"""Sharpness along a path, against the closed form of a linear model and the invariance to rescaled units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import MeasureError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy, error, squared_error
from linescape.geometry.paths import Line
from linescape.interpolation.sam import sharpness


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(seed: int) -> nn.Module:
    layer = nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(seeded(seed, 1, 5))
    return layer


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_rise_of_a_quadratic_loss_is_known(adaptive: bool) -> None:
    inputs, targets = seeded(1, 30, 5), seeded(2, 30, 1)
    a, b = linear(0), linear(1)
    evaluator = Evaluator(a, {"train": (inputs, targets)}, [squared_error], batch_size=7)
    found = sharpness(Line(a, b), evaluator, 3, radius=0.3, adaptive=adaptive)
    hessian = 2 * inputs.T @ inputs / 30
    for place, alpha in enumerate((0.0, 0.5, 1.0)):
        weight = ((1 - alpha) * seeded(0, 1, 5) + alpha * seeded(1, 1, 5))[0]
        gradient = 2 * inputs.T @ (inputs @ weight - targets[:, 0]) / 30
        scale = weight.abs() if adaptive else torch.ones(5).double()
        step = 0.3 * scale**2 * gradient / (scale * gradient).norm()
        assert float((step / scale).norm()) == pytest.approx(0.3)
        np.testing.assert_allclose(found.rise[place], gradient @ step + step @ hessian @ step / 2, rtol=1e-6)
    assert torch.equal(a.get_parameter("weight"), seeded(0, 1, 5))


def test_only_the_adaptive_ball_is_the_same_for_rescaled_units() -> None:
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double())
    rescaled = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    rescaled.load_state_dict(networks[0].state_dict())
    with torch.no_grad():
        for name, factor in (("0.weight", 4), ("0.bias", 4), ("2.weight", 0.25)):
            rescaled.get_parameter(name).mul_(factor)
    data = {"train": (seeded(1, 30, 5), torch.arange(30) % 3)}
    rises = [
        sharpness(Line(start, networks[1]), Evaluator(start, data), 2, radius=0.1, adaptive=adaptive).rise[0]
        for adaptive in (True, False)
        for start in (networks[0], rescaled)
    ]
    assert rises[0] == pytest.approx(rises[1], rel=1e-6)
    assert abs(rises[2] - rises[3]) > 0.1 * rises[2]


def test_without_a_gradient_there_is_no_direction() -> None:
    inputs, a, b = seeded(1, 30, 5), linear(0), linear(1)
    targets = torch.zeros(30, 1).double()
    with torch.no_grad():
        a.get_parameter("weight").zero_()
    found = sharpness(Line(a, b), Evaluator(a, {"train": (inputs, targets)}, [squared_error]), 2, radius=0.1)
    assert np.isnan(found.rise).tolist() == [True, False]


def test_what_cannot_be_measured_is_refused() -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(5, 3), nn.Linear(5, 3)
    evaluator = Evaluator(a, {"train": (seeded(1, 30, 5).float(), torch.arange(30) % 3)}, [cross_entropy, error])
    for radius in (0, float("nan"), True):
        with pytest.raises(RecipeError, match="Give a positive number"):
            sharpness(Line(a, b), evaluator, 2, radius=radius)
    with pytest.raises(MeasureError, match="'error' has no gradient"):
        sharpness(Line(a, b), evaluator, 2, radius=0.1, measure="error")
