from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.checkpoints.soups import greedy, mean_state, with_own_statistics
from linescape.errors import DataError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.state import State
from linescape.geometry.tensors import mean
from tests.support.networks import ConvNet, lived_in


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64])
def test_the_mean_of_tensors_is_that_of_numpy_rounded_once(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(50, generator=generator).to(dtype) for _ in range(5)]
    wide = torch.complex128 if dtype.is_complex else torch.float64
    exact = np.mean([value.to(wide).numpy() for value in values], axis=0)
    assert torch.equal(mean(values), torch.from_numpy(exact).to(dtype))


def test_what_is_equal_stays_and_integers_are_the_last_ones() -> None:
    mask = torch.tensor([0.0, -torch.inf, torch.nan])
    assert torch.equal(mean([mask, mask.clone()]).nan_to_num(7), mask.nan_to_num(7))
    assert mean([torch.tensor(3), torch.tensor(8)]) == 8


def quadratic(count: int) -> tuple[Evaluator, dict[str, State], Tensor, Tensor]:
    """Networks around the weights that made the targets; the loss of means is known in closed form."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    best = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    y = (x @ best.T).squeeze(1)

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.squeeze(1) - targets).square()

    drawn = [best + torch.randn(1, 4, generator=generator, dtype=torch.float64) for _ in range(count)]
    states = {f"n{i}": State({"weight": weight}) for i, weight in enumerate(drawn)}
    network = nn.Linear(4, 1, bias=False).double()
    return Evaluator(network, {"val": (x, y)}, [squared]), states, x, y


def test_a_greedy_soup_is_that_of_the_definition() -> None:
    evaluator, states, x, y = quadratic(7)

    def loss(names: tuple[str, ...]) -> float:
        weight = torch.stack([states[name]["weight"] for name in names]).mean(0)
        return float(((x @ weight.T).squeeze(1) - y).square().mean())

    order = sorted(states, key=lambda name: loss((name,)))
    members: tuple[str, ...] = (order[0],)
    for name in order[1:]:
        if loss((*members, name)) <= loss(members):
            members = (*members, name)
    soup = greedy(states, evaluator, "val", "squared")
    assert set(soup.members) == set(members)
    assert 1 < len(members) < len(states)
    assert soup.value == pytest.approx(loss(members), rel=1e-12)
    assert soup.value <= min(loss((name,)) for name in states)
    assert [trial.name for trial in soup.trials] == order
    assert [trial.kept for trial in soup.trials] == [name in members for name in order]
    torch.testing.assert_close(soup.state["weight"], torch.stack([states[n]["weight"] for n in members]).mean(0))
    for order_of_names in itertools.islice(itertools.permutations(states), 0, 40, 13):
        again = greedy({name: states[name] for name in order_of_names}, evaluator, "val", "squared")
        assert set(again.members) == set(members)


def test_means_with_batchnorm_are_tried_with_statistics_of_their_own(images: tuple[Tensor, Tensor]) -> None:
    net = ConvNet()
    states = [lived_in(net, images[0], seed) for seed in (1, 2, 3)]
    evaluator = Evaluator(net, {"train": images})
    settled = with_own_statistics(mean_state(states), evaluator)
    reference = ConvNet()
    mean_state(states).load_into(reference)
    activations = reference.conv(images[0])
    torch.testing.assert_close(settled["bn.running_mean"], activations.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(settled["bn.running_var"], activations.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    elsewhere = Evaluator(net, {"test": images})
    assert with_own_statistics(states[0], elsewhere) is states[0]
    soup = greedy({str(i): state for i, state in enumerate(states)}, evaluator, "train", "cross_entropy")
    assert soup.value <= min(trial.alone for trial in soup.trials)
    assert evaluator(soup.state)["train", "cross_entropy"].mean(dtype=float) == pytest.approx(soup.value)


def test_what_cannot_choose_is_refused() -> None:
    evaluator, states, *_ = quadratic(2)
    with pytest.raises(DataError, match="no 'test' to choose by"):
        greedy(states, evaluator, "test", "squared")
    with pytest.raises(DataError, match="no 'error' to choose by"):
        greedy(states, evaluator, "val")
    with pytest.raises(StateError, match="no networks"):
        greedy({}, evaluator, "val", "squared")
    broken = State({"weight": states["n0"]["weight"] / 0})
    with pytest.raises(StateError, match="NaN or infinity"):
        mean_state([broken, states["n1"]])
