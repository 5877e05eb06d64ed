"""Data have to be the same in each pass."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
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
from linescape.errors import DataError, MeasureError
from linescape.evaluation.repeated import Repeated
from tests.support.passes import INPUTS, PLAIN, TARGETS, networks, walked


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
    measured: list[object] = []

    def some(outputs: Tensor, _targets: Any) -> Tensor:
        return outputs[: 67 if measured else 68, 0]

    start = networks()[0]
    evaluator = ls.Evaluator(start, {"d": [(INPUTS, TARGETS)]}, [some], lambda model, batch: (model(batch[0]), "none"))
    measured.append(evaluator(ls.State.from_module(start)))
    with pytest.raises(MeasureError, match=r"'some' gave 67 values for the data 'd', after 68 before"):
        evaluator(ls.State.from_module(start))


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
