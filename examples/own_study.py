"""A study of one's own: does dropout change the line? `linescape study run examples/own_study.py`."""

import torch
from torch import nn

from linescape import data
from linescape.recipe import Data, Optimizer, OwnModel, Recipe, Schedule
from linescape.studies.study import Study


def network(dropout: float = 0.0) -> nn.Module:
    """The network of all arms."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, 10))


def images(count: int = 2000) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Some of the embedded images."""
    return {name: (x[:count], y[:count]) for name, (x, y) in data.load("fashion-mini").tensors().items()}


base = Recipe(Data.of(images), OwnModel.of(network), Optimizer(lr=0.05, batch_size=100), Schedule(3))
arms = {"dropout": {"dropout": 0.5}, "fast": {"lr": 0.2}}
study = Study.of("dropout", base, arms, seeds=2, lines=("blocks",), title="Does dropout change the line?", alphas=11)
