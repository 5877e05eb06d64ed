from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from linescape import data
from linescape.data import sets
from linescape.data.dataset import Split, rank_in_class
from linescape.errors import DataError
from linescape.recipe import Data
from tests.support.sets_on_disk import idx, write_mnist


def test_labels_out_of_range_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(20, 10)))
    monkeypatch.setitem(sets._KNOWN, "mnist", replace(sets.known("mnist"), examples=(30, 20)))
    with pytest.raises(DataError, match="test labels of 'mnist' run from 10 to 10"):
        data.load(Data(name="mnist"), root=tmp_path)


def test_a_split_is_checked() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match="no examples"):
        Split(images[:0], torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="one int64 label"):
        Split(images, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="one int64 label"):
        Split(images, torch.zeros(3))
    with pytest.raises(DataError, match=r"float64 of shape \(3, 1, 2, 2\)"):
        Split(images.double(), torch.zeros(3, dtype=torch.int64))


def test_rank_in_class_counts_earlier_ones() -> None:
    targets = torch.randint(0, 4, (50,), generator=torch.Generator().manual_seed(0))
    expected = [int((targets[:at] == label).sum()) for at, label in enumerate(targets)]
    assert rank_in_class(targets).tolist() == expected


def test_take_is_balanced_nested_and_in_order() -> None:
    targets = torch.tensor([0, 0, 0, 1, 0, 1, 2, 0, 0])
    split = Split(torch.arange(9.0)[:, None], targets)

    def kept(count: int) -> list[float]:
        return split.take(count).inputs[:, 0].tolist()

    assert kept(3) == [0, 3, 6]
    assert kept(5) == [0, 1, 3, 5, 6]
    assert kept(6) == [0, 1, 2, 3, 5, 6], "classes that are used up leave their places to others"
    for count in range(1, 9):
        assert len(kept(count)) == count
        assert set(kept(count)) < set(kept(count + 1))
    assert split.take(0) is split
    assert split.take(100) is split
    with pytest.raises(DataError, match="-1 examples"):
        split.take(-1)


@pytest.mark.parametrize("name", ["fashion-mini", "spiral"])
def test_normalise_gives_mean_0_and_variance_1(name: str) -> None:
    dataset = data.load(Data(name=name))
    before = dataset.train.inputs.clone()
    scaled = dataset.normalise(dataset.train.inputs)
    assert scaled.dtype == torch.float32
    over = [0, 2, 3] if scaled.ndim == 4 else [0]
    torch.testing.assert_close(scaled.mean(over), torch.zeros(len(dataset.mean)), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(over, correction=0), torch.ones(len(dataset.mean)), atol=1e-5, rtol=0)
    assert torch.equal(dataset.train.inputs, before)


def test_normalise_takes_pixels_of_any_type() -> None:
    dataset = data.load(Data())
    images = dataset.train.inputs[:4]
    expected = (images.double() / 255 - dataset.mean[0]) / dataset.std[0]
    torch.testing.assert_close(dataset.normalise(images).double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(dataset.normalise(images.float()), dataset.normalise(images))
