"""Batches are kept as what they are."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence
from torch.utils.data import DataLoader, IterableDataset

from linescape.errors import DataError
from linescape.evaluation.batches import as_tensors, head, length, lengths, map_tensors, tensors, to_device
from linescape.evaluation.subsets import take
from tests.support import optional

CPU = torch.device("cpu")


class Pair(NamedTuple):
    tokens: Tensor
    names: list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    image: Tensor
    extra: dict[str, Tensor]
    size: int = dataclasses.field(init=False, default=3)


def doubled(batch: Any) -> Any:
    return map_tensors(batch, lambda tensor: tensor * 2)


def test_containers_keep_their_kind() -> None:
    pair = doubled(Pair(torch.ones(2), ["a", "b"]))
    assert isinstance(pair, Pair)
    assert pair.tokens.tolist() == [2, 2]
    assert pair.names == ["a", "b"]
    frozen = doubled(Frozen(torch.ones(2), {"mask": torch.ones(1)}))
    assert isinstance(frozen, Frozen)
    assert (frozen.image.tolist(), frozen.extra["mask"].tolist(), frozen.size) == ([2, 2], [2], 3)
    assert type(doubled((torch.ones(1),))) is tuple
    assert type(doubled([torch.ones(1)])) is list
    kinds: list[Any] = [
        OrderedDict(a=torch.ones(1)),
        UserDict(a=torch.ones(1)),
        defaultdict(list, {"a": torch.ones(1)}),
    ]
    for mapping in kinds:
        changed = doubled(mapping)
        assert type(changed) is type(mapping)
        assert changed["a"].item() == 2
        assert mapping["a"].item() == 1
    assert doubled(MappingProxyType({"a": torch.ones(1)}))["a"].item() == 2
    assert doubled(()) == ()
    assert doubled("text") == "text"


def test_batches_of_transformers_keep_their_kind() -> None:
    transformers = optional.load("transformers")
    batch = transformers.BatchEncoding({"input_ids": torch.ones(2, 3), "labels": torch.ones(2)})
    changed = doubled(batch)
    assert changed.input_ids.sum() == 12
    assert batch.input_ids.sum() == 6
    outputs = doubled(transformers.modeling_outputs.BaseModelOutput(last_hidden_state=torch.ones(2)))
    assert outputs.last_hidden_state.tolist() == outputs["last_hidden_state"].tolist() == [2, 2]


def test_packed_sequences_are_kept() -> None:
    steps = [torch.randn(n, 2) for n in (3, 1, 4)]
    for packed in (pack_sequence(steps, enforce_sorted=False), pack_sequence([steps[2], steps[0], steps[1]])):
        moved = to_device((packed, torch.ones(3)), CPU)[0]
        assert isinstance(moved, PackedSequence)
        changed = map_tensors(packed, lambda tensor: tensor * 2 if tensor.is_floating_point() else tensor.clone())
        for left, middle, right in zip(*map(unpack_sequence, (changed, moved, packed)), strict=True):
            assert torch.equal(left, 2 * right)
            assert torch.equal(middle, right)
    batch = (pack_sequence(steps, enforce_sorted=False), torch.ones(3))
    assert head(batch, 2) == (batch, 1.0)  # it is unknown which of its rows an example is
    with pytest.raises(DataError, match="unknown what one example is"):
        take([batch], np.array([0]), 2)
    # Where every sequence has one step, their parts are as long as there are examples, but cannot be joined.
    ones = [(pack_sequence([torch.ones(1, 2) * i]), torch.tensor([i])) for i in range(3)]
    assert lengths(ones[0]) == {1}
    assert [int(part[0].data[0, 0]) for part in take(ones, np.array([0, 2]), 2)] == [0, 2]


def test_examples_of_dictionaries_are_joined_by_name_and_only_if_the_rest_is_the_same() -> None:
    one, two = ({"a": torch.full((2, 1), n), "b": torch.full((2, 1), -n)} for n in (1.0, 2.0))
    swapped = {"b": two["b"], "a": two["a"]}
    (joined,) = take([one, swapped], np.array([0, 3]), 4)
    assert joined["a"].flatten().tolist() == [1.0, 2.0]
    assert joined["b"].flatten().tolist() == [-1.0, -2.0]
    apart = take([{**one, "task": 1}, {**two, "task": 2}], np.array([0, 3]), 4)
    assert [(batch["task"], batch["a"].item()) for batch in apart] == [(1, 1.0), (2, 2.0)]
    assert len(take([one, {**two, "c": two["a"]}], np.array([0, 3]), 4)) == 2


def test_examples_are_drawn_from_batches_of_any_kind() -> None:
    kept = take([Pair(torch.arange(4.0), ["x"]), Pair(torch.arange(4.0, 7.0), ["x"])], np.array([1, 3, 5]), 2)
    assert [type(part) for part in kept] == [Pair]  # two and a rest of one
    assert [part.tokens.tolist() for part in kept] == [[1, 3, 5]]
    frozen = [Frozen(torch.arange(2.0) + at, {"mask": torch.arange(2) + at}) for at in (0, 2)]
    (joined,) = take(frozen, np.array([1, 2]), 2)
    assert joined.extra["mask"].tolist() == joined.image.tolist() == [1, 2]


def test_tensors_are_found_everywhere() -> None:
    nested = [Frozen(torch.ones(1), {"mask": torch.ones(2)}), (Pair(torch.ones(3), []), {"a": [torch.ones(4)]})]
    assert [len(tensor) for tensor in tensors(nested)] == [1, 2, 3, 4]
    assert list(tensors(namedtuple("Empty", "")())) == []


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.arange(5.0)


def test_lengths_that_are_not_known() -> None:
    assert length(DataLoader(Endless(), 2)) is None
    assert length([1, 2]) == 2
    assert length(iter([1])) is None


def test_arrays_that_torch_cannot_read_are_refused() -> None:
    good = np.zeros(2)
    for bad in (np.array(["a", "b"]), np.array([1, None], object), good[::-1]):
        with pytest.raises(DataError, match=r"'test'.*cannot read"):
            as_tensors("test", (bad, good))
    with pytest.raises(DataError, match="a single number"):
        as_tensors("test", (np.array(1.0), good))
