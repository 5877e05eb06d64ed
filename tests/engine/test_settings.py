"""Graphs of a network whose attributes the user's own code sets between calls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.engine.settings import settings_of
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from tests.support.engine import compared, labels, line_of, noted
from tests.support.engine_networks import VECTORS


class Tasks(nn.Module):
    """A body and two heads, of which one is chosen; the rest is what else code may set."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.heads = nn.Linear(12, 8), nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 3)])
        self.task, self.options, self.factors = 0, {"scale": 1.0}, [1.0]
        self.config, self.shift = SimpleNamespace(scale=1.0), torch.zeros(3)

    def choose(self, task: int) -> None:
        self.task = task

    def forward(self, x: Tensor) -> Tensor:
        scale = self.options["scale"] * self.factors[0] * self.config.scale
        out: Tensor = self.heads[self.task](self.body(x).tanh()) * scale + self.shift
        return out


def by_method(model: Any, task: int) -> None:
    model.choose(task)


def by_attribute(model: Any, task: int) -> None:
    model.task = task


def in_a_dictionary(model: Any, task: int) -> None:
    model.options["scale"] = 1.0 + task


def in_a_list(model: Any, task: int) -> None:
    model.factors[0] = 1.0 + task


def in_an_object(model: Any, task: int) -> None:
    model.config.scale = 1.0 + task


def in_a_tensor(model: Any, task: int) -> None:
    model.shift.fill_(task)


WAYS = (by_method, by_attribute, in_a_dictionary, in_a_list, in_an_object)


@pytest.mark.parametrize("choose", [*WAYS, in_a_tensor])
def test_what_code_sets_between_calls_has_graphs_of_its_own(choose: Callable[[Any, int], None]) -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        choose(model, int(batch[1]))
        return model(batch[0]), batch[2]

    torch.manual_seed(0)
    net = Tasks().eval()
    data = [(VECTORS[:20], torch.tensor(task), labels(20)) for task in (0, 1, 0)]
    whole = line_of(net, VECTORS)
    for path in (whole, Only(whole, [name for name in whole.end if name.startswith("heads")])):
        found = compared(path, net, data, forward=forward)
        assert bool(noted(found)) == (choose is in_a_tensor)  # set anew at each call, in more than eight ways


def test_settings_are_equal_where_nothing_was_set() -> None:
    net = Tasks()
    before = settings_of(net)
    with torch.no_grad():
        net.body.weight.mul_(2)
    assert settings_of(net) == before
    assert hash(before) == hash(settings_of(net))
    for choose in (*WAYS, in_a_tensor):
        other = copy.deepcopy(net)
        before = settings_of(other)
        choose(other, 1)
        assert settings_of(other) != before


def test_weights_in_a_list_are_no_settings() -> None:
    net = nn.LSTM(12, 3, batch_first=True)
    before = settings_of(net)
    with torch.no_grad():
        net.get_parameter("weight_ih_l0").mul_(2)
    assert settings_of(net) == before


def test_arguments_that_are_equal_but_of_other_types_are_told_apart() -> None:
    class Powers(nn.Linear):
        def forward(self, x: Tensor, power: float = 1) -> Tensor:
            return super().forward(x) * (2 if power is True else power)

    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        return model(batch[0], power=(1, True)[int(batch[1])]), batch[2]

    net = Powers(12, 3).eval()
    data = [(VECTORS, torch.tensor(which), labels(40)) for which in (0, 1)]
    assert not noted(compared(line_of(net, VECTORS), net, data, forward=forward, alphas=2))


def test_what_is_kept_is_not_written_to_by_code_that_reads_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(12, 3), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.first(x), self.second(x)

    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        first, second = model(batch[0])
        return first.mul_(2).add_(second), batch[1]

    net = Two().eval()
    assert not noted(
        compared(Only(line_of(net, VECTORS), ["second.weight"]), net, [(VECTORS, labels(40))], forward=forward)
    )


def test_batches_inside_autocast_are_called_as_they_are() -> None:
    def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(batch[1])):
            return model(batch[0]).float(), batch[2]

    net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    data = [(VECTORS, torch.tensor(which), labels(40)) for which in (0, 1, 0)]
    found = compared(line_of(net, VECTORS), net, data, 1e-5, forward=forward, alphas=2)
    assert "inside torch.autocast" in noted(found)[0]
    first, rounded, last = np.split(found["d", "cross_entropy"].values, 3, axis=1)
    assert (first == last).all()
    assert (first != rounded).any(1).all()


def test_inputs_that_are_made_of_moving_weights_are_not_kept() -> None:
    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.body, self.norm, self.head = (
                nn.Linear(12, 80),
                nn.Linear(80, 8),
                nn.BatchNorm1d(8),
                nn.Linear(8, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.norm(self.body(x)).tanh())
            return out

    def forward(model: Any, batch: Any) -> tuple[Any, Any]:
        return model(model.embed(batch[0])), batch[1]

    net = Embedding().eval()
    whole = Line(*(State.from_module(Embedding()) for _ in range(2)))
    for block in ("embed", "body", "head"):
        moving = [name for name in whole.end if name.startswith((block, "embed"))]
        assert not noted(compared(Only(whole, moving), net, (VECTORS, labels(40)), forward=forward, batch_size=16))
