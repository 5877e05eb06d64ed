"""What is kept between positions: it changes no bit and takes no more memory than allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Only
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.engine import ALPHAS, assert_close, kept_bytes, labels, line_of, lines
from tests.support.engine_networks import IMAGES, WIDE, InPlace, Preact, small


@pytest.mark.parametrize("build", [Preact, InPlace, WIDE])
def test_keeping_changes_no_bit(build: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = build().eval()
    keeping, forgetting = (Evaluator(net, {"d": (IMAGES, labels(len(IMAGES)))}, fast=True) for _ in range(2))
    begin, engine, most = forgetting.engine.start_path, forgetting.engine, 0

    def nothing_left(*given: Any) -> None:
        begin(*given)
        engine._memory_left = 0

    monkeypatch.setattr(engine, "start_path", nothing_left)
    for path in lines(net, line_of(net, IMAGES)).values():
        expected, found = (
            scan(path, ev, ScanOptions(alphas=ALPHAS, batchnorm=("interpolate", "start")))
            for ev in (forgetting, keeping)
        )
        assert not kept_bytes(engine)
        assert all(np.array_equal(found.values[key], values) for key, values in expected.values.items())
        most = max(most, kept_bytes(keeping.engine))
    assert most > 2e4


@pytest.mark.parametrize("memory", [0.0, 5e4, 1e6])
def test_no_more_is_kept_than_allowed(memory: float) -> None:
    net, whole, data = small()
    evaluators = [Evaluator(net, {"d": data}, fast=True, memory=m) for m in (2e9, memory)]
    for path in (
        whole,
        Only(whole, ["fc.weight"]),
        Only(whole, [n for n in whole.end if n.startswith(("conv2", "bn2"))]),
    ):
        curves = [
            scan(path, evaluator, ScanOptions(alphas=3, batchnorm=("interpolate", "end"))) for evaluator in evaluators
        ]
        assert_close(curves[1], curves[0])
        assert kept_bytes(evaluators[1].engine) <= memory
