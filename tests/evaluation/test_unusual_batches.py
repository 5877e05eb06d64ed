"""Batches that are torn, empty, of one example, nested, or whose examples act on each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
)

import linescape as ls
from linescape.errors import DataError
from tests.support.passes import INPUTS, PLAIN, TARGETS, networks, walked


def test_an_error_of_the_data_names_them_and_the_batch() -> None:
    class Torn(Dataset[Any]):
        def __len__(self) -> int:
            return 70

        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            if row == 45:
                raise OSError("row 45 is torn")
            return INPUTS[row], TARGETS[row]

    with pytest.raises(
        DataError, match=r"'d' failed when their batch 3 was read, with OSError: row 45 is torn"
    ) as caught:
        walked(DataLoader(Torn(), batch_size=20))
    assert isinstance(caught.value.__cause__, OSError)


def test_a_later_batch_that_the_network_cannot_take_is_named() -> None:
    batches = [(INPUTS[:30], TARGETS[:30]), (INPUTS[30:, :4], TARGETS[30:])]
    with pytest.raises(
        DataError, match=r"cannot be called with batch 2 of 'd' \(\(40, 4\) float32, \(40,\) int64\)"
    ) as caught:
        walked(batches)
    assert isinstance(caught.value.__cause__, RuntimeError)


@dataclass
class Pair:
    inputs: Tensor
    targets: Tensor = field(init=False)


def test_a_field_that_is_not_set_is_named() -> None:
    start = networks()[0]
    evaluator = ls.Evaluator(start, {"d": [Pair(INPUTS)]}, forward=lambda model, pair: (model(pair.inputs), TARGETS))
    with pytest.raises(DataError, match="a Pair whose field 'targets' is not set"):
        evaluator(ls.State.from_module(start))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.linear(inputs))
        return outputs


@pytest.mark.parametrize("treatment", ["batch", "recalibrate"])
def test_a_batch_of_one_has_no_variance(treatment: str) -> None:
    """70 examples in batches of 23 leave one, which tensors have in the batch before."""
    network = Normed()
    data = {"train": DataLoader(PLAIN, batch_size=23)}
    evaluator = ls.Evaluator(network, data, batch_size=23)
    line = ls.Line(ls.State.from_module(network), ls.State.from_module(Normed()))
    with pytest.raises(DataError, match=r"batch 4 of .*\(1, 5\) float32.*two examples to compute a variance"):
        ls.scan(line, evaluator, ls.ScanOptions(alphas=3, batchnorm=treatment))
    with pytest.raises(DataError, match=r"smallest batch \(\(1, 5\) float32.*two examples to compute a variance"):
        evaluator.try_treatments((treatment,))
    evaluator.try_treatments(("interpolate", "start"))
    ls.scan(line, evaluator, ls.ScanOptions(alphas=3))
    other = ls.Evaluator(network, {"train": (INPUTS, TARGETS)}, batch_size=23)
    before = ls.State.from_module(other.model)
    other.try_treatments((treatment,))
    assert all(torch.equal(before[name], tensor) for name, tensor in other.model.state_dict().items())


def test_empty_batches_are_passed_over() -> None:
    empty = INPUTS[:0], TARGETS[:0]
    expected = walked((INPUTS, TARGETS))["d", "cross_entropy"].mean
    for batches in (
        [empty, (INPUTS, TARGETS)],
        [empty, (INPUTS[:30], TARGETS[:30]), empty, (INPUTS[30:], TARGETS[30:])],
    ):
        assert walked(batches)["d", "cross_entropy"].mean == pytest.approx(expected, rel=1e-6)
    with pytest.raises(DataError, match="no examples"):
        walked([empty])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:Sparse CSR")
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: (INPUTS.to_sparse(), TARGETS), "hold a sparse tensor"),
        (lambda: (INPUTS.to_sparse_csr(), TARGETS), "hold a sparse tensor"),
        (lambda: (torch.nested.nested_tensor(list(INPUTS)), TARGETS), "hold a nested tensor"),
        (lambda: (torch.nested.nested_tensor(list(INPUTS), layout=torch.jagged), TARGETS), "hold a nested tensor"),
        (lambda: (INPUTS.numpy(), np.ma.masked_array(TARGETS.numpy(), mask=TARGETS.numpy() == 2)), "masked array"),
        (lambda: (INPUTS, TARGETS.tolist()), "a tuple of a Tensor and a list. Give a tuple of two tensors"),
        (lambda: (INPUTS.tolist(), TARGETS.numpy()), "a tuple of a list and a ndarray. Give a tuple of two tensors"),
    ],
    ids=["sparse", "rows", "nested", "jagged", "masked", "a list of targets", "a list of inputs"],
)
def test_pairs_that_are_no_two_plain_tensors_are_refused(data: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ls.Evaluator(networks()[0], {"d": data()})


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_batches_of_nested_tensors_are_measured_whole(layout: torch.layout) -> None:
    start, end = networks()
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))

    def padded(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0].to_padded_tensor(0.0)), batch[1]

    batch = torch.nested.nested_tensor(list(INPUTS), layout=layout), TARGETS
    evaluator = ls.Evaluator(start, {"d": [batch]}, forward=padded)
    expected = walked((INPUTS, TARGETS))["d", "cross_entropy"].mean
    assert ls.scan(line, evaluator, ls.ScanOptions(alphas=3))["d", "cross_entropy"].mean == pytest.approx(expected)
    with pytest.raises(DataError, match="sparse or nested tensor"):
        ls.scan(line, evaluator, ls.ScanOptions(alphas=3, until=0.1))


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.cell, self.head = nn.RNN(3, 6, batch_first=batch_first), nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = 5 * self.head(self.cell(inputs)[0])
        return outputs


def test_examples_that_act_on_each_other_are_not_drawn() -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(25, 12, 3), torch.randint(0, 4, (25, 12))) for _ in range(60)]
    for batch_first in (True, False):
        start, end = Recurrent(batch_first), Recurrent(batch_first)
        line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))
        evaluator = ls.Evaluator(start, {"d": batches})
        for options in (ls.ScanOptions(alphas=3, until=0.5), ls.ScanOptions(adaptive=True)):
            if batch_first:
                ls.scan(line, evaluator, options)
            else:
                with pytest.raises(DataError, match="Examples of 'd' act on each other.*batch_first=True"):
                    ls.scan(line, evaluator, options)
