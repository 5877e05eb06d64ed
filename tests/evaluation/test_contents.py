"""Batches are compared by what they hold, or it is said what could not be."""

from __future__ import annotations

import array
import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from linescape.evaluation.contents import checksum


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

    unknown: dict[str, None] = {}
    assert checksum(batch(), unknown) == checksum(batch(), unknown)
    assert checksum(change(batch()), unknown) != checksum(batch(), unknown)
    assert not unknown


class Colour(Enum):
    RED = 1
    BLUE = 2


class Slotted:
    __slots__ = ("__weakref__", "left", "right")

    def __init__(self, left: Any, right: Any = None) -> None:
        self.left = left
        if right is not None:
            self.right = right


class Derived(Slotted):
    __slots__ = "last"


class Holding:
    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


class AsArray(Holding):
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(vars(self)["values"])


class Interfaced:
    def __init__(self, values: np.ndarray) -> None:
        self.__array_interface__ = values.__array_interface__
        self.kept = values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Slotted(1), Slotted(2)),
        (Slotted(1), Slotted(1, 3)),
        (Derived(torch.ones(3)), Derived(torch.ones(2))),
        (Holding(x=[1, Holding(y="a")]), Holding(x=[1, Holding(y="b")])),
        (Holding(x=1), Holding(y=1)),
        (AsArray(values=[1.0, 2.0]), AsArray(values=[2.0, 1.0])),
        (Interfaced(np.arange(4)), Interfaced(np.arange(4) * 2)),
        ({3, "x", Colour.RED}, {3, "x", Colour.BLUE}),
        (frozenset({1}), frozenset({2})),
        (np.array(["a", None, [1]], dtype=object), np.array(["a", None, [2]], dtype=object)),
        (np.array([1, 2]), np.array([[1], [2]])),
        (np.array([0, 1], dtype=np.int8), np.array([0, 1], dtype=np.uint8)),
        (np.int64(1), np.int64(2)),
        (np.array("2026-01-01", dtype="datetime64[D]"), np.array("2026-01-02", dtype="datetime64[D]")),
        (bytearray(b"ab"), bytearray(b"ba")),
        (memoryview(b"ab"), memoryview(b"ac")),
        (array.array("i", [1, 2]), array.array("i", [2, 1])),
        (Decimal("0.1"), Decimal("0.2")),
        (Fraction(1, 3), Fraction(2, 3)),
        (datetime(2026, 1, 1), datetime(2026, 1, 1) + timedelta(1)),
        (Path("a"), Path("b")),
        (slice(3), slice(4)),
        (pack_sequence([torch.ones(3), torch.ones(2)]), pack_sequence([torch.ones(3), torch.zeros(2)])),
    ],
)
def test_objects_are_told_apart(one: Any, other: Any) -> None:
    unknown: dict[str, None] = {}
    assert checksum([one, 1], unknown) != checksum([other, 1], unknown)
    assert not unknown


def test_what_is_equal_has_one_number_however_it_came_to_be() -> None:
    unknown: dict[str, None] = {}
    words = ["".join(["a", "b"]), "ab"]
    assert checksum({*"abcdefgh"}, unknown) == checksum({*"hgfedcba"}, unknown)
    assert checksum(Holding(x=words[0], y=words[1]), unknown) == checksum(Holding(x=words[0], y=words[0]), unknown)
    itself = [Holding(x=1), Holding(x=1)]
    for one in itself:
        vars(one)["itself"], vars(one)["within"] = one, [one]
    assert checksum(itself[0], unknown) == checksum(itself[1], unknown)
    assert not unknown


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (object(), "object"),
        (lambda: 0, "function"),
        (functools.partial(print, 1), "partial"),
        (iter([1]), "list_iterator"),
        (type("Stack", (bytearray, Holding), {"__buffer__": None, "__array__": property(lambda _: 1 / 0)})(), "Stack"),
        ([[[[[[[[[1]]]]]]]]], "list"),
    ],
)
def test_what_is_not_known_is_named(thing: Any, name: str) -> None:
    unknown: dict[str, None] = {}
    checksum([thing], unknown)
    assert list(unknown) == [name]
