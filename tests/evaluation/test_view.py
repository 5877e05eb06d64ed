from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from linescape.errors import DataError
from linescape.evaluation.measures import counted
from linescape.evaluation.view import DataView

HALVES = torch.full((10,), 0.5)
INPUTS, TARGETS = torch.arange(20.0).view(10, 2), torch.arange(10)


def of_tensors() -> DataView:
    return DataView.of({"train": (INPUTS, TARGETS), "test": (INPUTS[:4], TARGETS[:4])}, 4, "train")


def test_a_sample_is_the_same_from_tensors_and_from_batches() -> None:
    batches = [(INPUTS[:7], TARGETS[:7]), (INPUTS[7:], TARGETS[7:])]
    rows = np.array([0, 2, 5, 6, 9])
    for view in (of_tensors(), DataView.of({"train": batches}, 4, "train")):
        sample = view.sample({"train": rows})
        assert list(sample.batches) == ["train"]
        inputs, targets = (torch.cat(parts) for parts in zip(*sample.batches["train"], strict=True))
        assert torch.equal(inputs, INPUTS[rows])
        assert targets.tolist() == rows.tolist()
        assert [len(batch[1]) for batch in sample.batches["train"]] == [5]
        assert view.is_whole
        assert not sample.is_whole


def test_examples_are_counted_where_all_data_are_tensors() -> None:
    assert of_tensors().examples == 14
    assert of_tensors().sample({"test": np.array([1])}).examples == 1
    assert DataView.of({"train": [(INPUTS, TARGETS)]}, 4, "train").examples is None


def test_calibration_is_all_of_its_data_unless_rows_are_given() -> None:
    view = of_tensors()
    few = view.sample({"test": np.array([0])})
    assert few.calibration_batches is view.batches["train"]
    drawn = view.sample({"test": np.array([0])}, calibration=np.array([3, 4])).calibration_batches
    assert drawn is not None
    assert torch.cat([targets for _, targets in drawn]).tolist() == [3, 4]
    assert DataView.of({"test": (INPUTS, TARGETS)}, 4, "train").calibration_batches is None


def test_joined_batches_are_whole_multiples_of_a_batch() -> None:
    (all_at_once,) = of_tensors().joined("train", output_bytes=8)
    assert torch.equal(all_at_once[0], INPUTS)
    assert [len(targets) for _, targets in of_tensors().joined("train", output_bytes=1e9)] == [4, 4, 2]


def test_positions_are_those_of_all_examples() -> None:
    words = torch.tensor([[1, 2, 3], [1, -100, -100]])
    view = DataView.of({"text": (words, words), "images": (INPUTS, TARGETS)}, 1, "train")
    sample = view.sample({"text": np.array([0])})
    for name in view.batches:
        sample.count_positions(name, lambda batch: batch[1], {"loss": counted, "half": partial(counted, weight=HALVES)})
    assert view.mean_positions == {("text", "loss"): 2.0, ("text", "half"): 1.0, ("images", "half"): 0.5}


def test_positions_are_counted_once_where_some_have_none() -> None:
    passes = []

    def targets(batch: tuple[Tensor, Tensor]) -> Tensor:
        passes.append(batch)
        return batch[1]

    view = of_tensors()
    view.count_positions("train", targets, {"loss": counted})
    assert len(passes) == 1  # the first batch says that each example counts once
    assert not view.mean_positions


def test_data_without_a_name_are_refused() -> None:
    with pytest.raises(DataError, match="Give them a name"):
        DataView.of([(INPUTS, TARGETS)], 4, "train")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no data to measure on"):
        DataView.of({}, 4, "train")
