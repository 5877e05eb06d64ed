"""What a measure may return, and do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from linescape.errors import MeasureError
from linescape.evaluation.per_example import of_batch

OUTPUTS, TARGETS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize(
    "measure",
    [
        lambda outputs, targets: losses(outputs, targets).mean(0, keepdim=True),
        lambda outputs, targets: losses(outputs, targets)[targets > 0],
        lambda outputs, targets: outputs.flatten(),
    ],
    ids=["mean", "filter", "classes"],
)
def test_a_measure_gives_one_value_for_each_target(measure: Any) -> None:
    with pytest.raises(MeasureError, match=r"'m' returned shape \(\d+,\) for targets of shape \(5,\)"):
        of_batch({"m": measure}, OUTPUTS, TARGETS)


def test_what_to_do_about_a_measure_of_another_shape_is_said() -> None:
    for measure, advice in (
        (lambda outputs, targets: outputs, r"shape \(5, 3\).*mean over all axes but the first"),
        (lambda outputs, targets: losses(outputs, targets).mean(), r"shape \(\).*reduction='none'"),
    ):
        with pytest.raises(MeasureError, match=advice):
            of_batch({"m": measure}, OUTPUTS, TARGETS)


def test_where_targets_are_no_tensor_only_the_measure_knows_how_many_there_are() -> None:
    assert len(of_batch({"m": lambda outputs, targets: outputs[:2, 0]}, OUTPUTS, "none")["m"]) == 2


@pytest.mark.parametrize("kind", [torch.int32, torch.int64, torch.float64])
def test_large_values_are_kept_exactly(kind: torch.dtype) -> None:
    values = (torch.arange(5) + 2**25 + 1).to(kind)
    found = of_batch({"m": lambda outputs, targets: values}, OUTPUTS, TARGETS)["m"]
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_small_types_are_kept_in_single_precision(kind: torch.dtype) -> None:
    found = of_batch({"m": lambda outputs, targets: targets.to(kind)}, OUTPUTS, TARGETS % 2)["m"]
    assert found.dtype.name == "float32"
    assert found.tolist() == (TARGETS % 2).tolist()


def test_a_measure_may_not_write_to_what_the_next_one_reads() -> None:
    def clamping(outputs: Tensor, targets: Tensor) -> Tensor:
        return losses(outputs.clamp_(-1, 1), targets)

    def relabelling(outputs: Tensor, targets: Tensor) -> Tensor:
        targets[0] = 2
        return losses(outputs, targets)

    for measure in (clamping, relabelling):
        with pytest.raises(MeasureError, match="'m' writes to its outputs or targets"):
            of_batch({"m": measure, "other": losses}, OUTPUTS.clone(), TARGETS.clone())
        assert len(of_batch({"m": measure}, OUTPUTS.clone(), TARGETS.clone())["m"]) == 5
    with torch.inference_mode():
        of_batch({"a": losses, "b": losses}, OUTPUTS * 1, TARGETS * 1)
