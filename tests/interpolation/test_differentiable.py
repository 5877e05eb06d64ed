"""The loss that is differentiated is the one of a scan, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import MeasureError
from linescape.evaluation.batchnorm import TREATMENTS
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import squared_error
from linescape.geometry.paths import Line
from linescape.interpolation.differentiable import MeanLoss
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan


def pair() -> tuple[nn.Module, nn.Module]:
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
        made(torch.randn(50, 4) + seed)
        networks.append(made.eval())
    return networks[0], networks[1]


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_the_value_is_that_of_a_scan_under_each_treatment(treatment: str) -> None:
    a, b = pair()
    torch.manual_seed(3)
    data = {"train": (torch.randn(40, 4), torch.arange(40) % 3)}
    line, evaluator = Line(a, b), Evaluator(a, data, batch_size=15)
    loss = MeanLoss(line, evaluator, 3, None, None, treatment)
    curve = scan(line, evaluator, ScanOptions(alphas=3, batchnorm=treatment))
    for place in loss.positions():
        assert loss.value() == pytest.approx(curve["train", "cross_entropy"].mean[place], rel=1e-5)
        assert all(part.isfinite().all() for part in loss.gradient())


class Counted(nn.Linear):
    """Has whole numbers, a buffer and a parameter, before all others."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("calls", torch.tensor(3))
        self.by = nn.Parameter(torch.tensor([1, 2, 3]), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * self.by


def test_whole_numbers_in_a_network_are_no_weights_and_not_its_type() -> None:
    a, b = nn.Sequential(Counted()), nn.Sequential(Counted())
    a.register_buffer("first", torch.tensor(1))
    b.register_buffer("first", torch.tensor(1))
    loss = MeanLoss(Line(a, b), Evaluator(a, {"train": (torch.randn(4, 4), torch.arange(4) % 3)}), 2, None, None, "end")
    assert [tuple(weight.shape) for weight in loss.weights] == [(3, 4), (3,)]
    assert loss.describe()["dtype"] == "float32"
    assert [len(loss.gradient()) for _ in loss.positions()] == [2, 2]


def test_another_loss_or_one_that_is_not_finite_is_refused() -> None:
    a, b = pair()
    line, data = Line(a, b), (torch.randn(40, 4), torch.arange(40) % 3)
    loss = MeanLoss(line, Evaluator(a, {"train": data}), 3, None, None, "interpolate")
    loss.values = loss.values + np.array([0, 0.1, 0])
    positions = loss.positions()
    assert next(positions) == 0
    with pytest.raises(MeasureError, match=r"At alpha = 0.5 the loss to be differentiated is .*, but a scan measures"):
        next(positions)
    huge = Evaluator(a, {"train": (data[0], 1e30 * torch.ones(40, 3))}, [squared_error])
    with pytest.raises(MeasureError, match="At alpha = 0 the loss is inf, which has no derivatives"):
        next(MeanLoss(line, huge, 3, None, None, "interpolate").positions())
