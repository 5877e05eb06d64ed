from __future__ import annotations

import pytest
import torch

from linescape.errors import StateError
from linescape.geometry.mismatch import Mismatch, check_alike, is_counter, with_counters

LEFT = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1), "d": torch.zeros(1)}
RIGHT = {"e": torch.zeros(1), "c": torch.zeros(1).half(), "b": torch.zeros(4), "a": torch.ones(2)}


def test_names_shapes_and_types_that_differ() -> None:
    mismatch = Mismatch.between(LEFT, RIGHT)
    assert mismatch.only_left == ("d",)
    assert mismatch.only_right == ("e",)
    assert mismatch.shapes == {"b": ((3,), (4,))}
    assert mismatch.dtypes == {"c": (torch.float32, torch.float16)}


def test_messages_name_both_sides() -> None:
    with pytest.raises(
        StateError, match=r"The network and the state have .*1 only in the network \(d\); 1 only in the st"
    ):
        check_alike(LEFT, RIGHT, "the network", "the state")
    shared = {name: value for name, value in LEFT.items() if name in RIGHT}
    with pytest.raises(StateError, match=r"1 tensors have one shape in the start .* \(b: \(3,\) and \(4,\)\)"):
        check_alike(shared, {name: RIGHT[name] for name in shared}, "the start", "the end")
    same_shapes = {name: RIGHT[name] for name in ("a", "c")}
    assert set(check_alike({"a": LEFT["a"], "c": LEFT["c"]}, same_shapes, "the start", "the end").dtypes) == {"c"}


def test_a_count_of_batches_that_only_one_has_is_no_difference() -> None:
    counts = {"a.num_batches_tracked": torch.tensor(7), "b.num_batches_tracked": torch.tensor(8), "w": torch.ones(1)}
    fewer = with_counters({"w": torch.ones(1), "a.num_batches_tracked": torch.tensor(3)}, counts)
    assert {name: int(value) for name, value in fewer.items() if is_counter(name)} == {
        "a.num_batches_tracked": 3,
        "b.num_batches_tracked": 0,
    }
    assert list(with_counters(counts, {"w": torch.ones(1)})) == ["w"]
    check_alike(fewer, counts, "one", "the other")
