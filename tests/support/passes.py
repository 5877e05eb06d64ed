"""A line measured on data that are read anew in each pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import (
    TensorDataset,
)

import linescape as ls

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
