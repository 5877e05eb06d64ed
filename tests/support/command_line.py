"""A command line to run, and a user's own network and data to name in it."""

from __future__ import annotations

from collections.abc import Callable

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
