from __future__ import annotations

import math

import pytest
import torch

from linescape.errors import DataError, MeasureError
from linescape.evaluation.measures import counted, cross_entropy, error, squared_error


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


def test_positions_that_count_are_averaged() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(3, 4, 5), torch.randint(0, 5, (3, 4))
    targets[0, 2:] = targets[1, :3] = targets[2] = -100
    outputs[0, 3] = math.nan  # where nothing counts, nothing matters
    losses = [
        [-outputs[i, t].log_softmax(0)[targets[i, t]].item() for t in kept] for i, kept in ((0, [0, 1]), (1, [3]))
    ]
    assert cross_entropy(outputs, targets).tolist() == pytest.approx([sum(losses[0]) / 2, losses[1][0], 0])
    wrong = [[float(outputs[i, t].argmax() != targets[i, t]) for t in kept] for i, kept in ((0, [0, 1]), (1, [3]))]
    assert error(outputs, targets).tolist() == pytest.approx([50 * sum(wrong[0]), 100 * wrong[1][0], 0])
    counts = counted(targets)
    assert counts is not None
    assert counts.tolist() == [2, 1, 0]
    assert cross_entropy(outputs.bfloat16(), targets).dtype == torch.float32


def test_pixels_are_positions_too() -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    targets[0, 1] = -100
    flat = outputs.permute(0, 2, 3, 1).reshape(2, 20, 3)
    assert torch.allclose(cross_entropy(outputs, targets), cross_entropy(flat, targets.reshape(2, 20)))
    assert torch.allclose(error(outputs, targets), error(flat, targets.reshape(2, 20)))


def test_labels_of_positions_are_checked() -> None:
    with pytest.raises(DataError, match="Labels run from 0 to 5, but the network has 5 outputs"):
        cross_entropy(torch.zeros(1, 2, 5), torch.tensor([[0, 5]]))
    with pytest.raises(DataError, match="from -1"):
        error(torch.zeros(1, 2, 5), torch.tensor([[-1, -100]]))
    with pytest.raises(MeasureError, match="for tokens"):
        cross_entropy(torch.zeros(1, 5, 2), torch.tensor([[0, 1]]))
    assert counted(torch.tensor([0, 1])) is None
    assert counted(torch.zeros(2, 3)) is None
    assert counted([1]) is None
