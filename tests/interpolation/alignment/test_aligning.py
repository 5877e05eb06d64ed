from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape import models, recipe
from linescape.errors import DataError, RecipeError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.alignment import matching, operations
from linescape.interpolation.alignment.aligning import Alignment, By, align, shuffle
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.interpolation.alignment.test_units import derived

METHODS: tuple[By, ...] = ("weights", "activations")
DATA = torch.randn(40, 1, 12, 12, generator=torch.Generator().manual_seed(3)), torch.arange(40) % 5


def lived(spec: Any, seed: int) -> nn.Module:
    """A network with drawn weights and running statistics of its own."""
    torch.manual_seed(seed)
    network = models.build(spec, (1, 12, 12), 5)
    network.train()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
        for _ in range(2):
            network(DATA[0] + 0.1 * torch.randn_like(DATA[0]))
    return network.eval()


def shuffled(network: nn.Module, seed: int) -> tuple[State, dict[str, np.ndarray]]:
    """The network in a random order of all units, and that order."""
    found = derived(network, DATA[0][:4])
    draws = np.random.default_rng(seed)
    orders = {units.label: draws.permutation(units.count) for units in found.units}
    return found.permuted(State.from_module(network), orders), orders


SPECS = [
    recipe.MLP(hidden=(30, 20, 10)),
    recipe.VGG(depth=11, width=4, norm="none", head="cifar"),
    recipe.VGG(depth=16, width=4, norm="batch", head="cifar"),
    recipe.ResNet(depth=20, width=4),
    recipe.ResNet(depth=18, width=4),
    recipe.ResNet(depth=14, width=4, norm="none"),
]


@pytest.mark.parametrize("by", METHODS)
@pytest.mark.parametrize("spec", SPECS)
def test_a_permuted_copy_is_put_back_exactly(spec: Any, by: By) -> None:
    network = lived(spec, 0)
    start = State.from_module(network)
    end, orders = shuffled(network, 1)
    found = align(start, end, Evaluator(network, {"train": DATA}), by)
    for label, order in found.permutations.items():
        assert np.array_equal(orders[label][order], np.arange(len(order)))  # every unit of every stream
    assert all(torch.equal(found.state[name], start[name]) for name in start)  # running statistics too
    assert found.after == 0.0 < found.before
    assert found.moved > 0
    assert "distance" in repr(found)


@pytest.mark.parametrize("by", METHODS)
@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3]])
def test_an_aligned_network_computes_the_same_and_is_nearer_by_weights(spec: Any, by: By) -> None:
    first, last = lived(spec, 0), lived(spec, 7)
    start, end = State.from_module(first), State.from_module(last)
    evaluator = Evaluator(first, {"train": DATA})
    found = align(start, end, evaluator, by)
    before, after = evaluator(end), evaluator(found.state)
    np.testing.assert_allclose(after["train", "cross_entropy"], before["train", "cross_entropy"], rtol=1e-4, atol=1e-5)
    for name in start:  # the same numbers, in another order
        assert torch.equal(found.state[name].flatten().sort()[0], end[name].flatten().sort()[0])
    if by == "weights":
        assert found.after < found.before
    curve = scan(Line(start, found.state), evaluator, ScanOptions(alphas=3))
    np.testing.assert_allclose(curve["cross_entropy"].values[-1], before["train", "cross_entropy"], rtol=1e-3)
    assert any("recalibrate" in note for note in found.notes) == ("ResNet" in type(spec).__name__)


def test_a_single_hidden_layer_is_matched_as_by_trying_all_orders() -> None:
    from itertools import permutations

    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)) for _ in range(2)]
    start, end = map(State.from_module, networks)
    data = torch.randn(8, 3), torch.zeros(8, dtype=torch.long)
    found = align(start, end, Evaluator(networks[0], {"train": data}))

    def products(order: list[int]) -> float:
        return float(
            (start["0.weight"] * end["0.weight"][order]).sum()
            + (start["0.bias"] * end["0.bias"][order]).sum()
            + (start["2.weight"] * end["2.weight"][:, order]).sum()
        )

    best = max((list(order) for order in permutations(range(5))), key=products)
    assert found.permutations["0.weight"].tolist() == best


def test_activations_correlate_as_numpy_says() -> None:
    left, right = (torch.randn(4, 300, generator=torch.Generator().manual_seed(seed)) * 3 + 50 for seed in (0, 1))
    right[2] = 0.3 * left[1] + 0.1 * right[2]
    left[3] = 7.0  # constant
    moments = matching._Moments(4)
    for part in (slice(0, 100), slice(100, 300)):
        moments.add(left[:, part], right[:, part])
    exact = np.corrcoef(left[:3].double().numpy(), right.double().numpy())[:3, 3:]
    np.testing.assert_allclose(moments.correlations()[:3], exact, atol=1e-10)
    assert not moments.correlations()[3].any()


class Transposed(nn.Module):
    """Whose weight of 8 rows is also read transposed: as many rows as the examples that a graph is made with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(inputs))))
        logits: Tensor = self.last(torch.relu(nn.functional.linear(hidden, self.second.weight.T)))
        return logits


def test_rows_of_weights_are_not_taken_for_examples_and_modules_can_be_shuffled() -> None:
    torch.manual_seed(0)
    network, inputs = Transposed().double(), torch.randn(12, 6).double()
    evaluator = Evaluator(network, {"train": (inputs, torch.arange(12) % 5)})
    other = Transposed().double()
    other.load_state_dict(shuffle(network, evaluator, seed=1).state_dict())
    assert not torch.equal(other.second.weight, network.second.weight)
    torch.testing.assert_close(other(inputs), network(inputs), rtol=1e-10, atol=1e-10)
    back = align(network, other, evaluator)
    assert all(torch.equal(back.state[name], value) for name, value in network.state_dict().items())


def test_a_wrong_derivation_is_found_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(torch.relu(self.first(x)).flip(1))
            return out

    monkeypatch.setitem(operations._RULES, "flip", operations._elementwise)
    network = Flipped()
    state = State.from_module(network)
    evaluator = Evaluator(network, {"train": (torch.randn(9, 6), torch.zeros(9, dtype=torch.long))})
    with pytest.raises(StateError, match="changes the outputs of this Flipped"):
        align(state, state, evaluator)
    monkeypatch.undo()
    with pytest.raises(StateError, match="what flip does with it is not known"):
        align(state, state, evaluator)


def test_buffers_that_are_not_saved_are_read_and_outputs_of_other_kinds_are_refused() -> None:
    class Scaled(nn.Module):
        def __init__(self, wrapped: bool) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
            self.register_buffer("scale", torch.tensor(2.0), persistent=False)
            self.wrapped = wrapped

        def forward(self, x: Tensor) -> Any:
            out = self.second(torch.relu(self.first(x) * self.scale))
            return out.argmax(1) if self.wrapped else out

    data = torch.randn(9, 6), torch.zeros(9, dtype=torch.long)
    network = Scaled(False)
    state = State.from_module(network)
    for by in METHODS:
        assert align(state, state, Evaluator(network, {"train": data}), by).moved == 0
    network = Scaled(True)

    def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs != targets).float()

    with pytest.raises(StateError, match="returns no tensors of numbers"):
        align(state, state, Evaluator(network, {"train": data}, [wrong]))
    alone = Evaluator(Scaled(False), {"train": (data[0][:1], data[1][:1])})
    with pytest.raises(DataError, match="fewer than two"):
        align(state, state, alone, "activations")


def test_what_cannot_be_aligned_is_refused() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(self.first(x)) if float(x.sum()) > 0 else self.second(-self.first(x))
            return out

    data = torch.randn(9, 6), torch.zeros(9, dtype=torch.long)
    network = Branching()
    state = State.from_module(network)
    with pytest.raises(StateError, match="cannot be permuted, since its call is no graph"):
        align(state, state, Evaluator(network, {"train": data}))
    with pytest.raises(RecipeError, match="Did you mean 'weights'"):
        align(state, state, Evaluator(network, {"train": data}), "weight")  # type: ignore[arg-type]
    alone = nn.Linear(6, 3)
    with pytest.raises(StateError, match="it has no inner units"):
        align(State.from_module(alone), State.from_module(alone), Evaluator(alone, {"train": data}))
    with pytest.raises((DataError, StateError)):
        align(state, State.from_module(nn.Linear(2, 2)), Evaluator(network, {"train": data}))


def test_the_callers_network_and_states_stay_as_they_are() -> None:
    network = lived(SPECS[3], 0)
    before = State.from_module(network)
    end, _ = shuffled(network, 2)
    kept = {name: value.clone() for name, value in end.items()}
    result = align(before, end, Evaluator(network, {"test": DATA}), "activations")
    assert isinstance(result, Alignment)
    assert all(torch.equal(value, kept[name]) for name, value in end.items())
    assert all(torch.equal(value, before[name]) for name, value in State.from_module(network).items())
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("by", METHODS)
def test_random_state_and_grad_mode_stay(by: By) -> None:
    network = lived(SPECS[0], 0)
    state = State.from_module(network)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*DATA), batch_size=8)
    evaluator = Evaluator(network, {"train": loader})
    before = torch.random.get_rng_state()
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            align(state, state, evaluator, by)
            assert torch.is_grad_enabled() == enabled
    assert torch.equal(torch.random.get_rng_state(), before)
