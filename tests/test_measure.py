from __future__ import annotations

import math

import pytest
import torch

from linescape.errors import DataError, MeasureError
from linescape.measure import cross_entropy, error, squared_error


def test_values_by_hand() -> None:
    outputs = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]])
    targets = torch.tensor([1, 1])
    assert cross_entropy(outputs, targets).tolist() == pytest.approx([math.log(4 / 3), math.log(2)])
    assert error(outputs, targets).tolist() == [0, 100]  # a tie counts as the first class
    assert squared_error(outputs, targets).tolist() == pytest.approx([(math.log(3) - 1) ** 2, 25 + 16])


def test_chance_is_the_logarithm_of_the_number_of_classes() -> None:
    values = cross_entropy(torch.zeros(4, 10), torch.arange(4))
    assert values.tolist() == pytest.approx([math.log(10)] * 4)


def test_class_probabilities_are_targets_too() -> None:
    outputs = torch.randn(5, 3)
    hard = torch.tensor([0, 1, 2, 1, 0])
    soft = torch.nn.functional.one_hot(hard).float()
    assert torch.allclose(cross_entropy(outputs, hard), cross_entropy(outputs, soft))
    assert torch.equal(error(outputs, hard), error(outputs, soft))


def test_half_precision_is_measured_in_float32() -> None:
    outputs = torch.randn(5, 3).bfloat16()
    assert cross_entropy(outputs, torch.zeros(5, dtype=torch.long)).dtype == torch.float32


def test_nan_outputs_are_kept_and_count_as_wrong() -> None:
    outputs, targets = torch.tensor([[math.nan, 1.0]]), torch.tensor([0])
    assert math.isnan(cross_entropy(outputs, targets).item())
    assert error(outputs, targets).item() == 100


def test_what_does_not_fit_is_refused() -> None:
    outputs = torch.zeros(2, 3)
    with pytest.raises(DataError, match="Labels run from 0 to 3, but the network has 3 outputs"):
        cross_entropy(outputs, torch.tensor([0, 3]))
    with pytest.raises(DataError, match="from -1"):
        error(outputs, torch.tensor([0, -1]))
    with pytest.raises(MeasureError, match="needs logits"):
        cross_entropy(torch.zeros(2, 3, 4), torch.tensor([0, 1]))
    with pytest.raises(MeasureError, match="equal shapes"):
        squared_error(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(MeasureError, match="two tensors"):
        cross_entropy([outputs], torch.tensor([0, 1]))  # type: ignore[arg-type]
