from __future__ import annotations

import pytest
import torch

from linescape import data
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
