"""A command line to run, and a user's own network and data to name in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as replace_scale

import pytest
from msgspec.structs import replace

from linescape.recipe import Schedule

Line = Callable[..., tuple[int, str, str]]

OWN = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

def data():
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return {"train": (inputs, torch.arange(40) % 3), "test": (inputs[:20], torch.arange(20) % 3)}

def empty():
    return {"test": (torch.empty(0, 5), torch.empty(0, dtype=torch.long))}

def mislabelled():
    return {"test": (torch.randn(4, 5), torch.tensor([0, 1, 2, 3]))}

def nothing():
    return None

def wide():
    return {"test": (torch.randn(4, 7), torch.tensor([0, 1, 2, 0]))}

def arguments(width):
    return nn.Linear(width, 3)

def raises():
    return {}["x"]
"""
OF_OWN = ["--model", "own:network", "--data", "own:data"]


def make_studies_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings on the spiral take a tenth of their epochs, plans time little, and no helper is started."""
    from linescape.studies import planning, timing
    from linescape.studies.executors import local
    from linescape.studies.vlaar2022 import SCALES

    for name, scale in SCALES.items():
        short = replace(scale.warm_up["mlp-spiral"], schedule=Schedule(epochs=30, kind="step", drops=(15, 22)))
        quick = replace_scale(scale, warm_up={**scale.warm_up, "mlp-spiral": short})
        monkeypatch.setitem(SCALES, name, quick)
    monkeypatch.setattr(local, "ALONE_SECONDS", float("inf"))  # tests/studies/test_run.py has the helpers
    monkeypatch.setattr(planning, "cores", lambda _: 1)
    monkeypatch.setattr(timing, "ENOUGH", 0.05)
