"""Data have to be the same in each pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import linescape as ls
from linescape.errors import DataError, MeasureError
from linescape.evaluation.repeated import Repeated, checksum

INPUTS = torch.randn(70, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randint(0, 4, (70,), generator=torch.Generator().manual_seed(1))
PLAIN = TensorDataset(INPUTS, TARGETS)


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(5, 4), nn.Linear(5, 4)


def walked(data: Any, options: ls.ScanOptions | None = None) -> ls.Curve:
    start, end = networks()
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))
    return ls.scan(line, ls.Evaluator(start, {"d": data}), options or ls.ScanOptions(alphas=3))


class Noisy(Dataset[Any]):
    """Adds something to the rows from one on."""

    def __init__(self, noise: Callable[[], float], first: int) -> None:
        self.noise, self.first = noise, first

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return INPUTS[row] + (self.noise() if row >= self.first else 0.0), TARGETS[row]


def own_generator() -> Callable[[], float]:
    generator = torch.Generator().manual_seed(0)
    return lambda: float(torch.rand((), generator=generator))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("first", [0, 33, 69])
@pytest.mark.parametrize(
    "noise",
    [
        lambda: float(torch.rand(())),
        lambda: float(np.random.rand()),  # noqa: NPY002 - as in much code
        random.random,
        own_generator(),
        np.random.default_rng(0).random,
    ],
    ids=["torch", "numpy", "python", "a generator", "a generator of NumPy"],
)
def test_random_augmentation_is_found_whatever_draws_it_and_wherever(
    noise: Callable[[], float], first: int, workers: int
) -> None:
    if workers and (first != 33 or noise is random.random):
        pytest.skip("once is enough")
    data = DataLoader(Noisy(noise, first), batch_size=11, num_workers=workers, persistent_workers=workers > 0)
    with pytest.raises(DataError, match=r"Batch \d of the data 'd' is not what it was.*augmented at random"):
        walked(data)


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedRandomSampler([1.0] * 70, 70),
        SubsetRandomSampler(range(70)),
        RandomSampler(range(70), generator=torch.Generator()),
    ],
)
def test_samplers_that_draw_are_refused_by_name(sampler: Any) -> None:
    for loader in (
        DataLoader(PLAIN, batch_size=9, sampler=sampler),
        DataLoader(PLAIN, batch_sampler=BatchSampler(sampler, 9, drop_last=True)),
    ):
        with pytest.raises(DataError, match=type(sampler).__name__):
            ls.Evaluator(networks()[0], {"d": loader})


class Shuffled:
    """A sampler of the user's own."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(70).tolist())

    def __len__(self) -> int:
        return 70


@pytest.mark.parametrize("batch_size", [70, 8])
def test_a_sampler_that_is_not_known_is_found(batch_size: int) -> None:
    with pytest.raises(DataError, match="Batch 1 .*shuffled"):
        walked(DataLoader(PLAIN, batch_size=batch_size, sampler=Shuffled()))


class Changing:
    """Gives more or fewer rows, or batches, in each pass."""

    def __init__(self, sizes: Callable[[int], list[int]]) -> None:
        self.sizes, self.passes = sizes, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        first = 0
        for size in self.sizes(self.passes):
            yield INPUTS[first : first + size], TARGETS[first : first + size]
            first += size


@pytest.mark.parametrize("options", [ls.ScanOptions(alphas=3), ls.ScanOptions(alphas=3, until=0.05)])
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (lambda number: [20, 20 + number], "Batch 2 .* is not what it was"),
        (lambda number: [20] * min(number, 5), "gave more batches than the"),
        (lambda number: [10] * max(7 - number, 1), "gave . batches, after"),
    ],
)
def test_the_number_of_examples_may_not_change(sizes: Any, message: str, options: ls.ScanOptions) -> None:
    with pytest.raises(DataError, match=message):
        walked(Changing(sizes), options)


def test_data_that_stay_are_read_as_they_are_and_the_generators_are_left_alone() -> None:
    class Drawing(Dataset[Any]):
        def __len__(self) -> int:
            return 70

        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            torch.rand(()), random.random(), np.random.rand()  # noqa: NPY002 - changes nothing
            return INPUTS[row], TARGETS[row]

    expected = walked((INPUTS, TARGETS))["d", "cross_entropy"].mean
    for data in (Drawing(), PLAIN):
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
        batches = Repeated("d", DataLoader(data, batch_size=16))
        assert len(batches) == 5
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), INPUTS)
        after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
        assert torch.equal(states[0], after[0])
        assert states[1:] == after[1:]
        found = walked(DataLoader(data, batch_size=16))["d", "cross_entropy"].mean
        assert found == pytest.approx(expected, rel=1e-6)


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


@pytest.mark.parametrize("as_batches", [True, False])
def test_data_that_were_written_to_need_a_new_evaluator(as_batches: bool) -> None:
    inputs, targets = INPUTS.clone(), TARGETS.clone()
    start, end = networks()
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))
    evaluator = ls.Evaluator(start, {"d": [(inputs, targets)] if as_batches else (inputs, targets)})
    ls.scan(line, evaluator, ls.ScanOptions(alphas=3))
    targets[:10] = (targets[:10] + 1) % 4
    for options in (ls.ScanOptions(alphas=3), ls.ScanOptions(alphas=3, until=0.1)):
        with pytest.raises(DataError, match="'d' were written to.*new Evaluator"):
            ls.scan(line, evaluator, options)


def test_weights_of_a_measure_stay_and_positions_are_counted_anew() -> None:
    weight, targets = torch.tensor([1.0, 2.0, 0.5, 4.0]), TARGETS.clone()
    start, _ = networks()
    state = ls.State.from_module(start)
    evaluator = ls.Evaluator(start, {"d": (INPUTS, targets)}, [partial(ls.cross_entropy, weight=weight.clone())])
    given = ls.Evaluator(start, {"d": (INPUTS, targets)}, [partial(ls.cross_entropy, weight=weight)])
    for shift in range(2):
        targets.copy_((TARGETS + shift) % 4)
        expected = nn.functional.cross_entropy(start(INPUTS), targets, weight=torch.tensor([1.0, 2.0, 0.5, 4.0])).item()
        for each in (evaluator, given):
            assert each(state)["d", "cross_entropy"].mean() == pytest.approx(expected, rel=1e-5)
        weight *= torch.tensor([3.0, 1.0, 1.0, 9.0])


def test_a_measure_may_not_give_another_number_of_values_later() -> None:
    calls = []

    def some(outputs: Tensor, _targets: Any) -> Tensor:
        calls.append(1)
        return outputs[: 70 - len(calls), 0]

    start = networks()[0]
    evaluator = ls.Evaluator(start, {"d": [(INPUTS, TARGETS)]}, [some], lambda model, batch: (model(batch[0]), "none"))
    evaluator(ls.State.from_module(start))
    with pytest.raises(MeasureError, match=r"'some' gave 67 values for the data 'd', after 68 before"):
        evaluator(ls.State.from_module(start))


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: {**batch, "x": batch["x"].flip(1)},
        lambda batch: {**batch, "x": batch["x"].flip(0)},
        lambda batch: {**batch, "x": batch["x"].reshape(5, 4)},
        lambda batch: {**batch, "x": batch["x"].int()},
        lambda batch: {**batch, "text": ["a", "c"]},
        lambda batch: {**batch, "array": batch["array"] + 1},
        lambda batch: {**batch, "number": 2.0},
        lambda batch: {**batch, "sparse": (batch["sparse"].to_dense() * 2).to_sparse()},
        lambda batch: {**batch, "nested": torch.nested.nested_tensor([torch.ones(3), torch.ones(2)])},
        lambda batch: {**batch, "z": batch["z"].conj()},
        lambda batch: {"y": batch.pop("x"), **batch},
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_checksum_tells_batches_apart(change: Callable[[Any], Any]) -> None:
    def batch() -> dict[str, Any]:
        return {
            "x": torch.arange(20).view(4, 5).float(),
            "text": ["a", "b"],
            "array": np.arange(3),
            "number": 1.0,
            "sparse": torch.eye(3).to_sparse(),
            "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "z": torch.complex(torch.ones(2), torch.ones(2)),
            "none": None,
        }

    assert checksum(batch()) == checksum(batch())
    assert checksum(change(batch())) != checksum(batch())


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
