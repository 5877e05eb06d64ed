"""Loaders that draw their examples or leave some out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
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
    get_worker_info,
)

import linescape as ls
from linescape.errors import DataError
from tests.support.passes import INPUTS, PLAIN, TARGETS, networks, walked


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


class Some:
    """A sampler of the user's own."""

    def __init__(self, *rows: int) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


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


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where there are fewer cores
def test_examples_that_each_worker_gives_are_told() -> None:
    class Rows(IterableDataset[Any]):
        def __init__(self, shared: bool) -> None:
            self.shared = shared

        def __iter__(self) -> Iterator[Any]:
            worker = get_worker_info()
            step = worker.num_workers if worker and self.shared else 1
            first = worker.id if worker and self.shared else 0
            yield from (PLAIN[index] for index in range(first, len(PLAIN), step))

    (note,) = walked(DataLoader(Rows(False), batch_size=16, num_workers=2)).provenance["notes"]
    assert "'d' have 10 batches, of which 5 are different" in note
    for workers, shared in ((0, False), (2, True)):
        assert walked(DataLoader(Rows(shared), batch_size=16, num_workers=workers)).provenance["notes"] == []
