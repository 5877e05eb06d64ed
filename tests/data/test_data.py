from __future__ import annotations

import pytest
import torch

from linescape import data
from linescape.errors import RecipeError
from linescape.recipe import Data, Poison


def test_size_is_for_both_splits_and_scaling_follows() -> None:
    dataset = data.load(Data(size=14))
    assert dataset.shape == (1, 14, 14)
    assert dataset.test.inputs.shape == (2000, 1, 14, 14)
    assert float(dataset.normalise(dataset.train.inputs).std()) == pytest.approx(1, abs=1e-4)


def test_loading_is_reproducible() -> None:
    spec = Data(size=14, classes=(3, 1, 4), fraction=0.3, label_noise=0.2, poison=Poison(copies=2))
    one, again, other = data.load(spec, 5), data.load(spec, 5), data.load(spec, 6)
    assert torch.equal(one.train.inputs, again.train.inputs)
    assert torch.equal(one.train.targets, again.train.targets)
    assert not torch.equal(one.train.targets, other.train.targets)


def test_a_name_stands_for_the_data_set_as_it_is() -> None:
    named, asked = data.load("fashion-mini"), data.load(Data("fashion-mini"))
    assert named.digest == asked.digest
    tensors = named.tensors()
    assert {name: (inputs.shape, inputs.dtype, len(targets)) for name, (inputs, targets) in tensors.items()} == {
        "train": ((10000, 1, 28, 28), torch.float32, 10000),
        "test": ((2000, 1, 28, 28), torch.float32, 2000),
    }
    assert torch.equal(tensors["test"][0], named.normalise(named.test.inputs))
    assert abs(float(tensors["train"][0].double().mean())) < 1e-4
    with pytest.raises(RecipeError, match="fashion-mini"):
        data.load("fashion-mni")


def test_reprs_hold_no_pixels() -> None:
    whole = data.load("fashion-mini")
    assert repr(whole) == (
        "Dataset(fashion-mini: 10,000 training and 2,000 test examples of shape (1, 28, 28), 10 classes)"
    )
    assert repr(whole.test) == "Split(2,000 examples of shape (1, 28, 28))"
