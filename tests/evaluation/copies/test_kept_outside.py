"""What a network computes of its weights and keeps outside of itself is that of another position later on."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import MeasureError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
INPUTS = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(30) % 4
KEPT: dict[Any, Tensor] = {}


class Keeping(nn.Module):
    """Normalises the rows of a weight, which it keeps by `key`, whose own sum it reads at each call."""

    def __init__(self, key: Callable[[Tensor], Any], kept: dict[Any, Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 4)
        self.key, self.kept = key, kept

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.first.weight
        kept = KEPT if self.kept is None else self.kept
        key = self.key(weight)
        if key not in kept:
            kept[key] = 3 * F.normalize(weight, dim=1)
        outputs: Tensor = self.last(F.linear(inputs, kept[key], self.first.bias).tanh())
        return outputs + weight.sum() / 10


KEYS: dict[str, Callable[[Tensor], Any]] = {
    "identity": id,
    "address": Tensor.data_ptr,
    "shape": lambda weight: tuple(weight.shape),
    "nothing": lambda _: None,
    "address and version": lambda weight: (weight.data_ptr(), weight._version),
}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    KEPT.clear()
    yield
    KEPT.clear()


def pair(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    networks = make(), make()
    with torch.no_grad():
        for network in networks:
            for value in network.parameters():
                value.mul_(3.0)
    return networks


def measured(start: nn.Module, end: nn.Module, *only: str, copy: bool = True) -> Curve:
    path: Any = Line(State.from_module(start), State.from_module(end))
    data = {"d": (INPUTS, TARGETS)}
    return scan(Only(path, only) if only else path, Evaluator(start, data, copy=copy), ScanOptions(alphas=ALPHAS))


def expected(make: Callable[[], nn.Module], start: nn.Module, end: nn.Module) -> list[float]:
    losses = []
    for alpha in ALPHAS:
        KEPT.clear()
        network = make()
        states = zip(start.state_dict().items(), end.state_dict().values(), strict=True)
        network.load_state_dict({name: torch.lerp(first, last, alpha) for (name, first), last in states})
        with torch.no_grad():
            losses.append(F.cross_entropy(network.eval()(INPUTS), TARGETS).item())
    KEPT.clear()
    return losses


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("called", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_what_is_kept_in_the_network_is_the_copys_own(key: str, called: bool, copy: bool) -> None:
    def make() -> nn.Module:
        return Keeping(KEYS[key], {})

    start, end = pair(make)
    losses = expected(make, start, end)
    if called:
        start.eval()(INPUTS), end.eval()(INPUTS)
        start.kept.clear()  # type: ignore[operator, union-attr]
    curve = measured(start, end, copy=copy)
    np.testing.assert_allclose(curve["d", "cross_entropy"].mean, losses, rtol=1e-5)


@pytest.mark.parametrize("key", ["identity", "address and version"])
def test_what_is_kept_outside_under_the_number_of_a_tensor(key: str) -> None:
    start, end = pair(lambda: Keeping(KEYS[key]))
    losses = expected(lambda: Keeping(KEYS[key]), start, end)
    for _ in range(3):
        curve = measured(start, end)
        np.testing.assert_allclose(curve["d", "cross_entropy"].mean, losses, rtol=1e-5)
        assert any("kept outside of it. New copies did not read it" in note for note in curve.provenance["notes"])
        KEPT.clear()


@pytest.mark.parametrize("key", ["address", "shape", "nothing"])
@pytest.mark.parametrize("only", [(), ("last.weight",)])  # also where it stays, as it is not that of the given network
def test_what_is_kept_outside_and_read_again_is_refused(key: str, only: tuple[str, ...]) -> None:
    start, end = pair(lambda: Keeping(KEYS[key]))
    for measure in (
        lambda: measured(start, end, *only),
        lambda: measured(start, end, *only, copy=False),
        lambda: Evaluator(start, {"d": (INPUTS, TARGETS)})(State.from_module(end)),
    ):
        KEPT.clear()
        with pytest.raises(MeasureError, match=r"computed of first.weight in one call is kept outside.*told apart"):
            measure()


@pytest.mark.parametrize("key", ["shape", "nothing"])
def test_what_was_kept_before_is_named(key: str) -> None:
    start, end = pair(lambda: Keeping(KEYS[key]))
    with torch.no_grad():
        start.eval()(INPUTS)
    notes = measured(start, end).provenance["notes"]
    assert any("neither it nor the batch holds ((7, 5) float32)" in note for note in notes)


@functools.cache
def squared(weight: Tensor) -> Tensor:
    return weight.square()


class Squared(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, squared(self.weight), self.bias)


@functools.cache
def positions(count: int) -> Tensor:
    return torch.linspace(0, 1, count)


class Positional(nn.Linear):
    """Adds what does not depend on weights and is kept rightly."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs + positions(inputs.shape[1]))


@pytest.mark.parametrize("kind", [Squared, Positional])
def test_functions_that_keep_results_by_their_arguments(kind: type[nn.Linear]) -> None:
    start, end = pair(lambda: kind(5, 4))
    losses = expected(lambda: kind(5, 4), start, end)
    for clear in (True, False):
        if clear:
            squared.cache_clear()
            positions.cache_clear()
        curve = measured(start, end)
        np.testing.assert_allclose(curve["d", "cross_entropy"].mean, losses, rtol=1e-5)


def test_tensors_of_nobody_are_named_and_others_are_not() -> None:
    centre = torch.full((5,), 0.3)

    class Centred(nn.Linear):
        scale = torch.ones(1)

        def __init__(self) -> None:
            super().__init__(5, 4)
            self.own = torch.ones(5)
            self.register_buffer("unsaved", torch.zeros(5), persistent=False)

        def forward(self, inputs: Tensor) -> Tensor:
            inputs = inputs * torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0]) + self.own + self.get_buffer("unsaved")
            return super().forward(inputs + torch.arange(5) * 0.1)

    class Outside(Centred):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs - centre)

    class Held:
        def __init__(self) -> None:
            self.inputs, self.array = INPUTS, np.ones(5, dtype=np.float32)

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0].inputs + torch.from_numpy(batch[0].array)), batch[1]

    class Elsewhere(Centred):
        def forward(self, inputs: Tensor) -> Tensor:
            with ThreadPoolExecutor(1) as pool:  # whose operations are not seen
                scaled = pool.submit(torch.mul, inputs, 2.0).result()
            return super().forward(scaled + torch.from_numpy(np.ones(5, dtype=np.float32)))

    start, end = pair(Elsewhere)
    assert measured(start, end).provenance["notes"] == []
    start, end = pair(Outside)
    (note,) = measured(start, end).provenance["notes"]
    assert "tensors that neither it nor the batch holds ((5,) float32)" in note
    start, end = pair(Centred)
    assert measured(start, end).provenance["notes"] == []
    evaluator = Evaluator(start, {"d": [(Held(), TARGETS)]}, forward=forward)
    line = Line(State.from_module(start), State.from_module(end))
    assert scan(line, evaluator, ScanOptions(alphas=3)).provenance["notes"] == []


class Dropping(nn.Module):
    """AWD-LSTM's weight drop, as it was published: the dropped weight is set anew at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 4)
        self.cell.flatten_parameters = lambda: None  # type: ignore[method-assign]
        weight: Any = self.cell.weight_hh_l0
        del self.cell._parameters["weight_hh_l0"]
        self.cell.register_parameter("weight_hh_l0_raw", nn.Parameter(weight.data))
        self.cell.weight_hh_l0 = weight.data

    def forward(self, inputs: Tensor) -> Tensor:
        raw: Any = self.cell.weight_hh_l0_raw
        self.cell.weight_hh_l0 = F.dropout(raw, 0.5, self.training)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that weights are not in one piece of memory
            outputs = self.cell(inputs.unsqueeze(1).repeat(1, 3, 1))[0]
        return self.head(outputs[:, -1])  # type: ignore[no-any-return]


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("called", [True, False])
def test_a_call_that_changes_the_names_of_weights(called: bool, copy: bool) -> None:
    start, end = pair(Dropping)
    losses = expected(Dropping, start, end)
    if called:
        for network in (start, end):
            network.eval()(INPUTS)
    names = list(start.state_dict())
    curve = measured(start, end, copy=copy)
    np.testing.assert_allclose(curve["d", "cross_entropy"].mean, losses, rtol=1e-5)
    assert any("changes the names" in note for note in curve.provenance["notes"]) == (not called)
    if copy or called:  # else the network itself was called
        assert list(start.state_dict()) == names
        again = measured(start, end, "head.weight", copy=copy)
        assert again["d", "cross_entropy"].mean[-1] == pytest.approx(losses[-1], rel=1e-5)
