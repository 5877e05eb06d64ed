"""A user's code cannot tell what it is given from the network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from linescape.engine import Fast
from linescape.engine.stand_in import network_behind
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

Batch = tuple[Tensor, Tensor]


class Around(nn.Module):
    """Has attributes of names that the engine has too."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        self.path, self.memory, self.notes = 3.0, 2.0, "none"

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * self.network(inputs)  # type: ignore[no-any-return]


def checked(model: Any, inputs: Tensor) -> Tensor:
    assert isinstance(model, Around)
    assert isinstance(model, nn.Module)
    assert model.notes == "none"
    assert not model.training
    assert len(model.network) == 3
    return model(inputs.to(model.dtype))  # type: ignore[no-any-return]


def with_attribute(model: Any, inputs: Tensor) -> Tensor:
    model.path = float(inputs.shape[0])
    return model(inputs) * model.path  # type: ignore[no-any-return]


def with_other_weights(model: Any, inputs: Tensor) -> Tensor:
    others = {name: value + 1 for name, value in model.named_parameters()}
    return model(inputs) + functional_call(model, others, (inputs,))  # type: ignore[no-any-return]


CODE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "checked": checked,
    "attribute": with_attribute,
    "other weights": with_other_weights,
    "its part": lambda model, inputs: model.network(inputs),
    "its forward": lambda model, inputs: model.forward(inputs),
    "its numbers": lambda model, inputs: model(inputs) * model.path * model.memory,
    "its parameters": lambda model, inputs: model(inputs) + dict(model.named_parameters())["network.2.bias"],
    "its state dict": lambda model, inputs: model(inputs) + model.state_dict()["network.2.bias"],
}


@pytest.mark.parametrize("name", CODE)
def test_code_that_looks_at_the_network_finds_it(name: str) -> None:
    def forward(model: Any, batch: Batch) -> Batch:
        return CODE[name](model, batch[0]), batch[1]

    torch.manual_seed(0)
    first, second = Around(), Around()
    line = Line(State.from_module(first), State.from_module(second))
    data = {"d": [(torch.randn(9, 4), torch.arange(9) % 3), (torch.randn(5, 4), torch.arange(5) % 3)]}
    fast, plain = (
        scan(line, Evaluator(first, data, forward=forward, fast=fast), ScanOptions(alphas=(0.0, 0.3, 1.0)))
        for fast in (True, False)
    )
    for key, values in plain.values.items():
        np.testing.assert_allclose(fast.values[key], values, rtol=1e-5, atol=1e-6)


def test_layers_are_counted_taken_and_replaced() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model = Fast(network).stand_in
    assert (len(model), list(model), model[0], bool(model)) == (2, list(network), network[0], True)
    assert network[1] in model
    assert repr(model) == repr(network)
    assert dir(model) == dir(network)
    model.extra = 1
    assert network.extra == 1
    del model.extra
    assert not hasattr(network, "extra")
    assert (model == network, network == model, {network: 1}[model], model == network[0]) == (True, True, 1, False)
    assert WeakKeyDictionary({network: 2})[model] == 2
    assert isinstance(copy.deepcopy(model), nn.Sequential)
    assert network_behind(model) is network_behind(network) is network
