"""What an update adds is found by calls of its layer, and what is no scaled product is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from linescape.errors import StateError
from linescape.geometry.low_rank import measured
from linescape.geometry.packed import Pair
from tests.support.adapters import SCALE, Adapted, adapted, network, scaled

PAIR = Pair("2", "2.lora_A.default.weight", "2.lora_B.default.weight")


@pytest.mark.parametrize(("kind", "transposed"), [("linear", False), ("transposed", True), ("convolution", False)])
def test_the_scale_and_the_weight_are_found_and_the_network_stays(kind: str, transposed: bool) -> None:
    net, _ = network(kind)
    state = adapted(net, 1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for scale in (SCALE, -1e-3, 40.0):
        scaled(net, scale)
        found = measured(PAIR, net, state)
        assert (found.weight, found.up, found.down) == ("2.base_layer.weight", PAIR.up, PAIR.down)
        assert found.scale == pytest.approx(scale, rel=1e-9)
        assert found.transposed == transposed
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def divided(layer: Adapted, inputs: Tensor) -> Tensor:
    """DoRA: the sum of weight and update, divided by its norm."""
    up, down = layer.factors
    weight = layer.weight + up @ down
    outputs: Tensor = inputs @ (weight / weight.norm(dim=1, keepdim=True)).T
    return outputs


def diagonal(layer: Adapted, inputs: Tensor) -> Tensor:
    """AdaLoRA, with its third factor."""
    inner = layer.lora_A["default"](inputs) * torch.tensor([1.0, 2.0], dtype=inputs.dtype)
    outputs: Tensor = layer.base_layer(inputs) + layer.lora_B["default"](inner)
    return outputs


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (divided, "in 0 of its weights"),
        (diagonal, "in 0 of its weights"),
        (lambda layer, inputs: layer.base_layer(inputs), "in 0 of its weights.*disabled"),
        (lambda layer, inputs: layer.base_layer(inputs.long()), "cannot be called by itself"),
    ],
)
def test_a_layer_that_does_not_add_the_scaled_product_is_refused(
    forward: Callable[[Adapted, Tensor], Tensor], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, _ = network("linear")
    state = adapted(net, 1)
    assert measured(PAIR, net, state).scale == pytest.approx(SCALE, rel=1e-9)
    monkeypatch.setattr(Adapted, "forward", forward)
    with pytest.raises(StateError, match=message):
        measured(PAIR, net, state)
