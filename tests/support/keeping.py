"""A small training of the user's, that a keeper watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from linescape import checkpoints

INPUTS = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))


TARGETS = torch.arange(60) % 3


TEST = {"test": (INPUTS[:20], TARGETS[:20])}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 3))


def steps_of(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> Iterator[dict[str, Tensor]]:
    """A training with dropout and shuffling; yields the weights after each step."""
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=12, shuffle=True)
    done = 0
    while done < count:
        for inputs, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
            yield copied(model)
            if done == count:
                return


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def same(path: Path, tensors: dict[str, Tensor]) -> bool:
    read = checkpoints.read(path)
    return set(read) == set(tensors) and all(torch.equal(read[name], value) for name, value in tensors.items())
