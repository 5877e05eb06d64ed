from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import DataError, MeasureError
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

Images = tuple[Tensor, Tensor]
Pair = tuple[nn.Module, State, State]


def by_hand(state: State, images: Images, statistics: tuple[Tensor, Tensor] | None) -> np.ndarray:
    """`ConvNet` in float64 with given statistics, or those of the batch, written out without modules."""
    s = {name: value.double() for name, value in state.items()}
    hidden = F.conv2d(images[0].double(), s["conv.weight"], s["conv.bias"], padding=1)
    mean, var = statistics or (hidden.mean((0, 2, 3)), hidden.var((0, 2, 3), unbiased=False))
    hidden = (hidden - mean.view(1, -1, 1, 1)) / torch.sqrt(var.view(1, -1, 1, 1) + 1e-5)
    hidden = hidden * s["bn.weight"].view(1, -1, 1, 1) + s["bn.bias"].view(1, -1, 1, 1)
    outputs = F.relu(hidden).mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]
    return F.cross_entropy(outputs, images[1], reduction="none").numpy()


def of_data(state: State, images: Images, batch: int) -> tuple[Tensor, Tensor]:
    """Cumulative average over batches of the mean and the unbiased variance before the norm."""
    parts = [
        F.conv2d(x.double(), state["conv.weight"].double(), state["conv.bias"].double(), padding=1)
        for x in torch.split(images[0], batch)
    ]
    means, variances = [part.mean((0, 2, 3)) for part in parts], [part.var((0, 2, 3)) for part in parts]
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def of_state(state: State) -> tuple[Tensor, Tensor]:
    return state["bn.running_mean"].double(), state["bn.running_var"].double()


@pytest.fixture
def evaluator(pair: Pair, images: Images) -> Evaluator:
    return Evaluator(pair[0], {"train": images}, [cross_entropy], batch_size=20)


def test_each_treatment_is_what_it_says(pair: Pair, images: Images) -> None:
    net, start, end = pair
    line = Line(start, end)
    whole = Evaluator(net, {"train": images}, [cross_entropy], batch_size=37)
    curve = scan(line, whole, ScanOptions(alphas=7, batchnorm=batchnorm.TREATMENTS))
    for index, alpha in enumerate(curve.alphas):
        state = line.at(float(alpha))
        expected = {
            "interpolate": by_hand(state, images, of_state(state)),
            "recalibrate": by_hand(state, images, of_data(state, images, 37)),
            "start": by_hand(state, images, of_state(start)),
            "end": by_hand(state, images, of_state(end)),
            "batch": by_hand(state, images, None),
        }
        for treatment, values in expected.items():
            found = curve["train", "cross_entropy", treatment].values[index]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5, err_msg=f"{treatment} at {alpha}")
    assert curve.provenance["batchnorm"] == list(batchnorm.TREATMENTS)


def test_recalibration_averages_over_batches(pair: Pair, images: Images, evaluator: Evaluator) -> None:
    line = Line(pair[1], pair[2])
    curve = scan(line, evaluator, ScanOptions(alphas=3, batchnorm="recalibrate"))
    state = line.at(0.5)
    expected = by_hand(state, images, of_data(state, images, 20))
    np.testing.assert_allclose(curve["train"].values[1], expected, rtol=1e-4, atol=1e-5)


def test_at_the_start_nothing_depends_on_the_other_end(pair: Pair, images: Images, evaluator: Evaluator) -> None:
    # The check of Vlaar & Frankle's figures: under `interpolate`, L(0) is that of the initial network in eval mode.
    _, start, end = pair
    other = end.replace({name: value * 3 for name, value in end.items() if value.dtype.is_floating_point})
    first, second = (scan(Line(start, to), evaluator, ScanOptions(alphas=2))["train"].values[0] for to in (end, other))
    assert np.array_equal(first, second)


def test_treatments_leave_no_trace(pair: Pair, evaluator: Evaluator) -> None:
    line = Line(pair[1], pair[2])
    alone = scan(line, evaluator, ScanOptions(alphas=5))["train"].values
    among = scan(
        line, evaluator, ScanOptions(alphas=5, batchnorm=("batch", "recalibrate", "end", "interpolate", "start"))
    )
    assert np.array_equal(among["interpolate"].values, alone)
    assert not any(layer.training or layer.momentum != 0.1 for layer in batchnorm.layers(evaluator.model).values())


def test_a_layer_wise_line_moves_the_blocks_statistics_with_it(
    pair: Pair, images: Images, evaluator: Evaluator
) -> None:
    _, start, end = pair
    norm = [name for name in end if name.startswith("bn.")]
    curve = scan(Only(Line(start, end), norm), evaluator, ScanOptions(alphas=3))
    state = end.replace({name: Line(start, end).at(0.5)[name] for name in norm})
    np.testing.assert_allclose(curve["train"].values[1], by_hand(state, images, of_state(state)), rtol=1e-4, atol=1e-5)


def test_without_batchnorm_the_result_says_so() -> None:
    net = nn.Linear(3, 2)
    start, end = State.from_module(net), State.from_module(nn.Linear(3, 2))
    data = {"train": (torch.randn(9, 3), torch.zeros(9, dtype=torch.long))}
    curve = scan(
        Line(start, end), Evaluator(net, data), ScanOptions(alphas=3, batchnorm=("interpolate", "recalibrate"))
    )
    assert "no BatchNorm" in curve.provenance["notes"][0]
    both = [curve["cross_entropy", treatment].values for treatment in ("interpolate", "recalibrate")]
    assert np.array_equal(both[0], both[1])


def test_unknown_treatments_and_missing_calibration_are_refused(pair: Pair, images: Images) -> None:
    net, start, end = pair
    evaluator = Evaluator(net, {"test": images})
    with pytest.raises(MeasureError, match="'recalibrat'.*Did you mean 'recalibrate'"):
        scan(Line(start, end), evaluator, ScanOptions(batchnorm="recalibrat"))
    with pytest.raises(MeasureError, match="repeat"):
        scan(Line(start, end), evaluator, ScanOptions(batchnorm=("end", "end")))
    with pytest.raises(DataError, match="needs the data 'train', but there are only"):
        scan(Line(start, end), evaluator, ScanOptions(batchnorm="recalibrate"))
