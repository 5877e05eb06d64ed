"""Settings of all tests, and data that many share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from linescape.geometry.state import State
from tests.support.networks import ConvNet, lived_in

torch.set_num_threads(1)
os.environ["LINESCAPE_DATA"] = str(Path(__file__).parent / "no-data")  # absent: no test sees the machine's data sets
os.environ["COLUMNS"] = "200"  # wide enough for the paths of parallel tests in tables


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def images(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(inputs, targets): 37 grey images of 6 x 6 pixels in 3 classes."""
    return torch.randn(37, 1, 6, 6, generator=generator), torch.randint(0, 3, (37,), generator=generator)


@pytest.fixture
def pair(images: tuple[Tensor, Tensor]) -> tuple[nn.Module, State, State]:
    """(network, start, end) of a `ConvNet`."""
    net = ConvNet()
    return net, lived_in(net, images[0], 1), lived_in(net, images[0], 2)
