"""Counted operations against torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from linescape import models, recipe
from linescape.engine import operations
from tests.support.engine_networks import IMAGES, SOUNDS, TEXT, Masked, Writer


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (models.build(recipe.ResNet(8, 4), (2, 8, 8), 3), IMAGES),
        (models.build(recipe.MLP(), (2, 8, 8), 3), IMAGES),
        (Writer(), TEXT),
        (Masked(), TEXT),
        (nn.ConvTranspose2d(2, 6, 3, 2, groups=2), IMAGES),
        (nn.Conv1d(2, 6, 3, groups=2), SOUNDS),
    ],
    ids=["ResNet", "MLP", "language model", "encoder", "transposed", "groups"],
)
def test_operations_are_those_of_torchs_counter(net: nn.Module, inputs: Tensor) -> None:
    net.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(inputs)
    # Torch's counter leaves out attention on the CPU: 2 layers, 2 heads of 8, 5 words.
    attention = 2 * 4 * 40 * 2 * 5 * 5 * 8 if isinstance(net, Writer) else 0
    with torch.no_grad():
        assert operations(lambda: net(inputs)) == counter.get_total_flops() + attention


def test_a_recurrent_layer_counts_as_its_steps_do_in_float64() -> None:
    net = models.build(recipe.LSTM(6, 2), (2, 8, 8), 3)
    with torch.no_grad():
        fused = operations(lambda: net(IMAGES))
        with FlopCounterMode(display=False) as counter:
            net.double()(IMAGES.double())
    assert fused == counter.get_total_flops() > 0
