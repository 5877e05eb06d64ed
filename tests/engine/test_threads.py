from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from linescape.engine import threads
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_a_thread_has_enough_to_do() -> None:
    assert threads.suitable(0) == 1
    assert threads.suitable(1.99 * threads.EACH) == 1
    assert threads.suitable(2 * threads.EACH) == 2
    assert threads.suitable(100 * threads.EACH) == 2
    torch.set_num_threads(1)
    assert threads.suitable(100 * threads.EACH) == 1


@pytest.mark.parametrize(("batch_size", "expected"), [(20, 1), (40, 2)])
def test_an_evaluator_chooses_by_the_operations_of_its_largest_batch(
    batch_size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "EACH", 15 * 2 * 12 * 3)
    net, data = nn.Linear(12, 3), (torch.randn(40, 12), torch.zeros(40, dtype=torch.long))
    evaluator = Evaluator(net, {"few": (data[0][:8], data[1][:8]), "all": data}, batch_size=batch_size)
    assert evaluator.threads == expected
    assert evaluator.sample({"all": np.arange(4)}).threads == expected  # as many as for all examples


def test_no_walk_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, graph and kernels are the same however long calls take."""
    net = nn.Linear(12, 3)
    evaluator = Evaluator(net, {"test": (torch.randn(40, 12), torch.zeros(40, dtype=torch.long))}, fast=True)
    monkeypatch.setattr("time.perf_counter", lambda: pytest.fail("the clock was read"))
    path = Line(State.from_module(net), State.from_module(nn.Linear(12, 3)))
    evaluator.start_path(path, 50)
    evaluator.load_position(path, 0.5)
    assert evaluator.measure("interpolate", {})["test", "error"].shape == (40,)


def test_the_number_is_set_back_after_an_error() -> None:
    def fail() -> None:
        assert torch.get_num_threads() == 1
        raise RuntimeError

    with pytest.raises(RuntimeError), threads.using(1):
        fail()
    assert torch.get_num_threads() == 2
