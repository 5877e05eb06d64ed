"""Settings of all tests, and data that many share."""

from __future__ import annotations

import gc
import os
from pathlib import Path

# One thread for each pool of threads, here and in the processes that tests start: tests run on all cores already, and
# pools that fight for cores take several times as long. Read when the libraries are loaded, so before the imports.
os.environ |= {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1"),
    "OMP_WAIT_POLICY": "PASSIVE",  # the few tests of two threads must not keep a core busy with waiting
    "LINESCAPE_DATA": str(Path(__file__).parent / "no-data"),  # absent: no test sees the machine's data sets
    "COLUMNS": "200",  # wide enough for the paths of parallel tests in tables
}

import pytest
import torch
from torch import Tensor, nn

from linescape.engine import processors
from linescape.geometry.state import State
from linescape.report.figures import panel
from tests.support.networks import ConvNet, lived_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


def pytest_collection_finish() -> None:
    panel.STYLE["pdf.fonttype"] = 3  # to embed fonts as users have them takes a third of the time of a page
    # Walks in bfloat16 are tested on every processor; tests/engine/test_processors.py has those that cannot.
    processors.multiplies_bfloat16 = lambda device: True
    gc.freeze()  # half a million imported objects, which each full collection would look at for 0.3 s


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
