"""Data have to be the same in each pass."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import linescape as ls
from linescape.errors import DataError, MeasureError
from linescape.evaluation.repeated import Repeated

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
        return outputs[: 67 if len(calls) > 3 else 68, 0]

    start = networks()[0]
    evaluator = ls.Evaluator(start, {"d": [(INPUTS, TARGETS)]}, [some], lambda model, batch: (model(batch[0]), "none"))
    evaluator(ls.State.from_module(start))
    with pytest.raises(MeasureError, match=r"'some' gave 67 values for the data 'd', after 68 before"):
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


class Some:
    """A sampler of the user's own."""

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class Endless:
    def __iter__(self) -> Iterator[list[int]]:
        while True:
            yield [0, 1]


SHARD: Any = DistributedSampler(PLAIN, num_replicas=4, rank=1)
EVEN = BatchSampler(range(0, 70, 2), 9, drop_last=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": SHARD, "batch_size": 5}, "18 of the 70 examples.*a DistributedSampler gives"),
        ({"batch_size": 32, "drop_last": True}, "64 of the 70 examples.*SequentialSampler with drop_last=True"),
        (
            {"sampler": Some(*range(50), 3, 4), "batch_size": 7},
            r"50 of the 70 .*once \(52 in all\): .*Some",
        ),
        ({"sampler": Some(*range(70), 3), "batch_size": 7}, r"70 of the 70 .*some more than once \(71 in all\)"),
        ({"batch_sampler": EVEN}, "27 of the 70 examples.*range with drop_last=True"),
        ({"batch_sampler": Some([0, 1], [2, 5])}, "4 of the 70 examples.*a Some gives"),  # type: ignore[arg-type]
        ({"batch_size": 32}, None),
        ({"sampler": Some(*reversed(range(70))), "batch_size": 7}, None),
    ],
)
def test_examples_that_a_loader_leaves_out_are_counted(settings: dict[str, Any], said: str | None) -> None:
    for data in (PLAIN, Subset(TensorDataset(INPUTS.repeat(2, 1), TARGETS.repeat(2)), range(70))):
        for options in (ls.ScanOptions(alphas=3), ls.ScanOptions(alphas=3, until=0.1)):
            curve = walked(DataLoader(data, **settings), options)
            notes = [note for note in curve.provenance["notes"] if "of their data set" in note]
            assert len(notes) == (said is not None)
            assert said is None or re.search(f"'d' are {said}", notes[0])


def test_what_is_no_row_of_a_data_set_is_not_counted() -> None:
    class ByName(Dataset[Any]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, name: str) -> tuple[Tensor, Tensor]:
            return (INPUTS[0], TARGETS[0]) if name == "first" else (INPUTS[1], TARGETS[1])

    class Whole(Dataset[Any]):  # whose entries are batches
        def __len__(self) -> int:
            return 3

        def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
            return INPUTS[row * 9 : row * 9 + 9], TARGETS[row * 9 : row * 9 + 9]

    for loader in (DataLoader(ByName(), sampler=Some("first", "second")), DataLoader(Whole(), batch_size=None)):  # type: ignore[arg-type]
        assert walked(loader).provenance["notes"] == []


def test_a_last_batch_that_is_dropped_of_an_iterable_is_told() -> None:
    class Rows(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(zip(INPUTS, TARGETS, strict=True))

    (note,) = walked(DataLoader(Rows(), batch_size=16, drop_last=True)).provenance["notes"]
    assert "'d' lack those of the last batch, where it was not full: drop_last=True" in note
    assert walked(DataLoader(Rows(), batch_size=16)).provenance["notes"] == []


class Image:
    """Holds what the library does not look for a network's input in."""

    def __init__(self, values: Any, **others: Any) -> None:
        self.values = values
        vars(self).update(others)


def objects(change: Callable[[int, list[Any]], Any]) -> ls.Curve:
    """A walk over batches of one object each, changed by the number of the pass."""
    passes = count()

    class Batches:
        def __iter__(self) -> Iterator[Any]:
            number = next(passes)
            yield change(number, list(INPUTS)), INPUTS, TARGETS

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[1]), batch[2]

    start, end = networks()
    line = ls.Line(ls.State.from_module(start), ls.State.from_module(end))
    return ls.scan(line, ls.Evaluator(start, {"d": Batches()}, forward=forward), ls.ScanOptions(alphas=3))


def test_objects_are_compared_by_what_they_hold() -> None:
    def shuffled(number: int, rows: list[Any]) -> list[Any]:
        return rows if number < 4 else rows[::-1]

    for change in (
        lambda number, rows: Image(torch.stack(shuffled(number, rows))),
        lambda number, rows: Image(Image({"x": shuffled(number, rows)})),
        lambda number, rows: [Image(row.numpy()) for row in shuffled(number, rows)],
    ):
        with pytest.raises(DataError, match="Batch 1 of the data 'd' is not what it was"):
            objects(change)
    for stays in (lambda _, rows: Image(rows), lambda _, rows: Image({1, 2, "x"}, it=Image(np.float32(2)))):
        assert objects(stays).provenance["notes"] == []


def test_objects_whose_content_is_not_known_are_named() -> None:
    (note,) = objects(lambda _, rows: Image(rows, lock=threading.Lock(), call=lambda: 0)).provenance["notes"]
    assert "Batches of 'd' hold objects whose content is not known (lock, function)" in note
