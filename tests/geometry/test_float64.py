"""What is compared in float64 is compared on the CPU where the device has no float64, as ``mps``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import linescape
from linescape.engine.graph import relative_difference
from linescape.evaluation.copies.working_copy import same_outputs
from linescape.evaluation.measures import binary_cross_entropy, cross_entropy, squared_error
from linescape.evaluation.own_loss import _losses
from linescape.evaluation.per_example import of_batch
from linescape.evaluation.remarks import _are_logarithms
from linescape.geometry.tensors import in_float64, mean, norm, subtract
from linescape.interpolation.features import _compared
from linescape.interpolation.probing import _summed
from linescape.interpolation.sam import _norm
from tests.support.no_float64 import there, to

X, Y = torch.arange(12.0).reshape(3, 4).sin(), torch.arange(12.0).reshape(3, 4).cos()
LARGE = torch.full((3,), 0.9 * torch.finfo(torch.float32).max)
WHOLE = torch.arange(12).reshape(3, 4)


@pytest.mark.parametrize(
    "use",
    [
        lambda of: in_float64(of(X)),
        lambda of: in_float64(of(torch.complex(X, Y))),
        lambda of: relative_difference(of(X), of(Y)),
        lambda of: same_outputs(of(X), of(X * 1.0)),
        lambda of: norm(iter([of(X), of(Y)])),
        lambda of: mean([of(X), of(Y)]),
        lambda of: subtract(of(LARGE), of(-LARGE)),
        lambda of: of_batch({"m": squared_error}, of(X), of(WHOLE))["m"],
        lambda of: of_batch({"m": binary_cross_entropy}, of(X), of((Y > 0).long()))["m"],
        lambda of: of_batch({"m": cross_entropy}, of(X), of(torch.tensor([0, 1, 2])))["m"],
        lambda of: of_batch({"m": cross_entropy}, of(X), of(Y.softmax(1)))["m"],
        lambda of: of_batch({"m": lambda x, _: x.long()[:, 0]}, of(WHOLE), of(WHOLE))["m"],
        lambda of: _are_logarithms(of(X.log_softmax(1))),
        lambda of: [float(loss) for _, loss in _losses(of(X), of((Y > 0).float()))],
        lambda of: [float(loss) for _, loss in _losses(of(X[..., None]), of(Y))],
        lambda of: [float(loss) for _, loss in _losses(of(X[None]), of(torch.tensor([[0, 1, -100]])))],
        lambda of: _compared(of(X), of(Y), of(X + Y), 0.5),
        lambda of: _summed(of(X), None),
        lambda of: _norm([of(X), of(Y)]),
    ],
)
def test_results_are_those_of_a_device_with_float64(
    use: Callable[[Callable[[Tensor], Tensor]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = use(lambda value: value)
    monkeypatch.setattr(Tensor, "to", to)
    found = use(there)
    assert np.array_equal(np.asarray(found), np.asarray(expected), equal_nan=True)


def test_the_device_of_these_tests_refuses_float64() -> None:
    refusing: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.double(),
        lambda x: x.to(torch.float64),
        lambda x: x.sum(dtype=torch.float64),
    ]
    for refused in refusing:
        with pytest.raises(TypeError, match="float64"):
            refused(there(X))
    with pytest.raises(RuntimeError, match="same device"):
        there(X) + X


@pytest.mark.parametrize("folder", ["engine", "evaluation"])
def test_what_runs_on_the_device_asks_for_float64_in_one_way(folder: str) -> None:
    for file in (Path(linescape.__file__).parent / folder).rglob("*.py"):
        assert not re.search(r"\.double\(\)|dtype=torch\.float64|to\(torch\.float64", file.read_text()), file
