"""Known answers come out on this machine, and a wrong one is reported."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from linescape.engine.native import build, winograd
from linescape.evaluation import batchnorm
from linescape.evaluation.evaluator import Evaluator
from linescape.interpolation import known
from linescape.interpolation.known import Check, checks

QUICK = ("_convolutions", "_kernels")
"""What takes more than moments."""


@pytest.fixture
def without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in QUICK:
        monkeypatch.setattr(known, name, lambda *_: iter(()))


@pytest.mark.usefixtures("without_networks")
def test_all_answers_in_closed_form_are_right_and_global_random_numbers_stay() -> None:
    before = torch.get_rng_state()
    checked = list(checks())
    assert len(checked) == 4 + 3 + len(batchnorm.TREATMENTS)
    assert [check for check in checked if not check.is_ok] == []
    assert torch.equal(torch.get_rng_state(), before)


def test_a_number_that_is_off_or_not_a_number_is_wrong() -> None:
    assert Check("", 1.0, 1.0 + 1e-12, 1e-10).is_ok
    assert not Check("", 1.0, 1.1, 1e-10).is_ok
    assert not Check("", math.nan, 1.0, 1e9).is_ok
    assert not known._furthest("", [1.0, math.nan, 5.0], [1.0, 2.0, 5.0], 1.0).is_ok


@pytest.mark.usefixtures("without_networks")
def test_a_treatment_that_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def nothing(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(batchnorm, "treated", nothing)
    wrong = [check.what for check in checks() if not check.is_ok]
    assert len(wrong) == len(batchnorm.TREATMENTS) - 1
    assert not any("'interpolate'" in what for what in wrong)


@pytest.mark.usefixtures("without_networks")
def test_a_measure_that_is_off_by_a_millionth_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Evaluator.measure

    def off(self: Any, *arguments: Any) -> Any:
        return {key: values * (1 + 1e-6) for key, values in right(self, *arguments).items()}

    monkeypatch.setattr(Evaluator, "measure", off)
    wrong = [check for check in checks() if not check.is_ok]
    assert len(wrong) == 3 + len(batchnorm.TREATMENTS)


def test_compiled_kernels_are_right_and_wrong_ones_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    if build.kernels() is None:
        pytest.skip("no compiler here")
    assert all(check.is_ok for check in known._kernels())
    right = winograd.convolution
    monkeypatch.setattr(winograd, "convolution", lambda *given, **named: right(*given, **named) * 1.0001)
    assert [check.is_ok for check in known._kernels()] == [False, True]


@pytest.mark.slow
def test_networks_as_walks_compute_them_are_as_plain_calls() -> None:
    assert [check for check in known._convolutions("cpu", torch.float64) if not check.is_ok] == []
