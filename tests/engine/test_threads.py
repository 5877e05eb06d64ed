from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from linescape.engine import threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def call(alone: float, together: float) -> None:
    time.sleep(alone if torch.get_num_threads() == 1 else together)


@pytest.mark.parametrize(
    ("alone", "together", "best"),
    [(0.002, 0.02, 1), (0.01, 0.015, 1), (0.03, 0.01, 2), (0.25, 9.0, 2)],
)
def test_threads_are_taken_where_they_pay(alone: float, together: float, best: int) -> None:
    assert threads.fitting(lambda: call(alone, together), lambda: call(alone / 8, together / 8), 1 / 8) == best
    assert torch.get_num_threads() == 2


def test_one_thread_needs_no_trial() -> None:
    torch.set_num_threads(1)
    assert threads.fitting(lambda: pytest.fail("called"), lambda: pytest.fail("called"), 0.5) == 1


def test_the_number_is_set_back_after_an_error() -> None:
    def fail() -> None:
        assert torch.get_num_threads() == 1
        raise RuntimeError

    with pytest.raises(RuntimeError), threads.using(1):
        fail()
    assert torch.get_num_threads() == 2
