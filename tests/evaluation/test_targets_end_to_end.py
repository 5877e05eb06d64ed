"""Whole walks with targets of every kind, against plain loops in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, IterableDataset

import linescape
from linescape.errors import DataError, MeasureError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.forward import Forward, default_forward
from linescape.evaluation.measures import Measure, cross_entropy, error
from linescape.evaluation.per_example import scaled
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from linescape.shape.intervals import estimate

ALPHAS = (0.0, 0.5, 1.0)


def two(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    first, second = make(), make()
    return first, second


def walked(
    networks: tuple[nn.Module, nn.Module],
    data: Any,
    measures: list[Measure],
    forward: Forward = default_forward,
    **options: Any,
) -> Curve:
    line = Line(*map(State.from_module, networks))
    return scan(line, Evaluator(networks[0], {"test": data}, measures, forward, **options), ScanOptions(alphas=ALPHAS))


def at_ends(networks: tuple[nn.Module, nn.Module], loss: Callable[[nn.Module], Tensor]) -> list[float]:
    with torch.no_grad():
        return [float(loss(network.double())) for network in networks]


@pytest.mark.parametrize("as_batches", [True, False])
@pytest.mark.parametrize(
    "settings", [{"weight": torch.tensor([0.5, 4.0, 1.0])}, {"ignore_index": 1}], ids=["weights", "ignored"]
)
@pytest.mark.parametrize("positions", [(), (5,), (2, 2)])
def test_weighted_means_are_those_of_torch(
    positions: tuple[int, ...], settings: dict[str, Any], as_batches: bool
) -> None:
    layer: Any = {0: nn.Linear, 1: partial(nn.Conv1d, kernel_size=1), 2: partial(nn.Conv2d, kernel_size=1)}[
        len(positions)
    ]
    networks = two(lambda: layer(4, 3))
    inputs, targets = torch.randn(300, 4, *positions), torch.randint(0, 3, (300, *positions))
    data: Any = (inputs, targets)
    if as_batches:
        data = list(zip(torch.split(inputs, 70), torch.split(targets, 70), strict=True))
    curve = walked(networks, data, [partial(cross_entropy, **settings), partial(error, **settings)])
    wide = {name: value.double() if name == "weight" else value for name, value in settings.items()}
    expected = at_ends(networks, lambda network: F.cross_entropy(network(inputs.double()), targets, **wide))
    assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)
    weights = wide.get("weight", torch.tensor([1.0, 0.0, 1.0]).double())[targets]
    wrong = at_ends(
        networks,
        lambda network: 100 * ((network(inputs.double()).argmax(1) != targets) * weights).sum() / weights.sum(),
    )
    assert curve["error"].mean[[0, -1]].tolist() == pytest.approx(wrong, rel=1e-5)
    assert ("positions_per_example" in curve.provenance) == ("ignore_index" in settings)


def test_walks_with_fewer_passes_have_the_weighted_mean_too() -> None:
    networks = two(lambda: nn.Linear(4, 3))
    inputs, targets = torch.randn(4000, 4), torch.randint(0, 3, (4000,))
    weighted = partial(cross_entropy, weight=torch.tensor([0.5, 4.0, 1.0]))
    line = Line(*map(State.from_module, networks))
    evaluator = Evaluator(networks[0], {"test": (inputs, targets)}, [weighted])
    full = scan(line, evaluator, ScanOptions(alphas=11))["cross_entropy"]
    fresh = Evaluator(networks[0], {"test": (inputs, targets)}, [weighted])
    drawn = scan(line, fresh, ScanOptions(alphas=11, until=0.1))["cross_entropy"]
    assert drawn.values.shape[1] < 4000
    deviation = np.abs(drawn.mean - full.mean).max()
    assert deviation < 4 * full.standard_error.max() * (4000 / drawn.values.shape[1]) ** 0.5


def test_different_measures_count_differently() -> None:
    networks = two(lambda: nn.Conv1d(4, 3, 1))
    inputs, targets = torch.randn(50, 4, 6), torch.randint(0, 3, (50, 6))
    targets[:, 4:] = 255
    measures: list[Measure] = [partial(cross_entropy, ignore_index=255)]
    weighted = partial(cross_entropy, ignore_index=255, weight=torch.tensor([1.0, 2.0, 0.0]))
    weighted.__name__ = "weighted_cross_entropy"  # type: ignore[attr-defined]
    curve = walked(networks, (inputs, targets), [*measures, weighted])
    for name, weight in (("cross_entropy", None), ("weighted_cross_entropy", torch.tensor([1.0, 2.0, 0.0]).double())):
        expected = at_ends(
            networks,
            lambda network, weight=weight: F.cross_entropy(  # type: ignore[misc]
                network(inputs.double()), targets, weight=weight, ignore_index=255
            ),
        )
        assert curve[name].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)
        networks[0].float()
    assert curve.provenance["positions_per_example"] == {"test": 4.0}


def test_binary_targets_and_regressions() -> None:
    inputs = torch.randn(90, 4)
    for outputs, targets in ((1, (inputs[:, :1] > 0).float()), (3, (torch.rand(90, 3) > 0.3).float())):
        networks = two(partial(nn.Linear, 4, outputs))
        curve = walked(networks, (inputs, targets), [linescape.binary_cross_entropy, linescape.binary_error])
        expected = at_ends(
            networks,
            lambda network, targets=targets: F.binary_cross_entropy_with_logits(  # type: ignore[misc]
                network(inputs.double()), targets.double()
            ),
        )
        assert curve["binary_cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)
        with pytest.raises(MeasureError, match="binary_cross_entropy"):
            Evaluator(networks[0].float(), {"test": (inputs, targets)}).count_operations()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(3, 5), nn.Linear(5, 2)

    def forward(self, steps: PackedSequence) -> Tensor:
        out: Tensor = self.head(self.recurrent(steps)[1][0])
        return out


@pytest.mark.parametrize("fast", [True, False, None])
def test_packed_sequences_are_walked(fast: bool | None) -> None:
    networks = two(Recurrent)
    steps = [torch.randn(n, 3) for n in (4, 2, 5, 3, 1, 6, 2)]
    targets = torch.randint(0, 2, (7,))
    batches = [(pack_sequence(steps[i : i + 3], enforce_sorted=False), targets[i : i + 3]) for i in (0, 3, 6)]
    curve = walked(networks, batches, [cross_entropy], fast=fast)

    def loss(network: nn.Module) -> Tensor:
        outputs = [network(pack_sequence([one.double()]))[0] for one in steps]
        return F.cross_entropy(torch.stack(outputs), targets)

    assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(at_ends(networks, loss), rel=1e-5)


class Sentence(NamedTuple):
    features: Tensor
    lengths: Tensor
    target: Tensor


def test_named_tuples_reach_the_users_own_forward() -> None:
    networks = two(lambda: nn.Linear(3, 2))
    batch = Sentence(torch.randn(8, 3), torch.ones(8), torch.randint(0, 2, (8,)))

    def own(model: nn.Module, batch: Sentence) -> tuple[Tensor, Tensor]:
        return model(batch.features), batch.target

    curve = walked(networks, [batch], [cross_entropy], own)
    expected = at_ends(networks, lambda network: F.cross_entropy(network(batch.features.double()), batch.target))
    assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __init__(self) -> None:
        self.rows = (torch.randn(60, 6), torch.randint(0, 3, (60,)))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(*self.rows, strict=True)


def test_loaders_without_a_length() -> None:
    networks, stream = two(lambda: nn.Linear(6, 3)), Stream()
    curve = walked(networks, DataLoader(stream, 16), [cross_entropy])
    inputs, targets = stream.rows
    expected = at_ends(networks, lambda network: F.cross_entropy(network(inputs.double()), targets))
    assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)


def test_errors_are_reported_where_they_are() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    data = {"test": (torch.randn(8, 3), torch.zeros(8).long())}

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyError("missing")

    with pytest.raises(MeasureError, match=r"measure 'broken' failed with KeyError: 'missing'.*shape \(4, 2\)"):
        Evaluator(network, data, [broken]).count_operations()

    def hook(module: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        return outputs[:, 7]

    class Called:
        def __call__(self, module: nn.Module, inputs: Any) -> None:
            raise ZeroDivisionError("in a hook")

    handle = network[0].register_forward_hook(hook)
    with pytest.raises(DataError, match=r"error in the hook .*hook of the layer '0': correct or remove"):
        Evaluator(network, data).count_operations()
    handle.remove()
    network[2].register_forward_pre_hook(Called())
    with pytest.raises(DataError, match=r"in a hook\. This is an error in the hook Called of the layer '2'"):
        Evaluator(network, data).count_operations()
    with pytest.raises(DataError, match="Give it the inputs that it was trained on"):
        Evaluator(nn.Linear(4, 2), data).count_operations()


@pytest.mark.slow
@pytest.mark.parametrize("hard", [True, False])
def test_intervals_of_barriers_of_weighted_means_hold(hard: bool) -> None:
    """A tenth of the examples has nine times the weight, and the highest or the lowest loss."""
    random = np.random.default_rng(0)

    def sample(examples: int) -> tuple[np.ndarray, np.ndarray]:
        rare = random.random(examples) < 0.1
        losses = np.where(rare, 1.5, 0.3) if hard else np.where(rare, 0.2, 1.8)
        noise = random.gamma(4, 0.25, (3, examples)) * random.gamma(2, 0.5, examples)
        return losses * noise * np.array([[1.0], [1.3], [1.0]]), np.where(rare, 9.0, 1.0)

    def weighted(losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.stack([scaled("d", row, weights, float(weights.mean())) for row in losses])

    def barrier(alphas: Any, losses: Any) -> np.ndarray:
        return np.asarray(losses[..., 1] - (losses[..., 0] + losses[..., 2]) / 2)

    true = float(barrier(None, weighted(*sample(2_000_000)).mean(1)))
    covered = 0
    for seed in range(400):
        interval = estimate(ALPHAS, weighted(*sample(1000)), barrier, resamples=300, seed=seed)
        covered += interval.low <= true <= interval.high
    assert covered >= 0.92 * 400


class Graph(nn.Module):
    """Each node sees its neighbours: a part of the rows is no input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        out: Tensor = self.second(edges @ torch.tanh(edges @ self.first(nodes)))
        return out


@pytest.mark.parametrize("sparse", [True, False])
def test_nodes_of_one_graph_are_not_called_alone(sparse: bool) -> None:
    networks = two(Graph)
    edges = (torch.rand(60, 60) > 0.9).float()
    nodes, targets = torch.randn(60, 3), torch.randint(0, 2, (60,))
    curve = walked(networks, [(nodes, edges.to_sparse() if sparse else edges, targets)], [cross_entropy])
    expected = at_ends(networks, lambda network: F.cross_entropy(network(nodes.double(), edges.double()), targets))
    assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match="cannot be called"):
        walked(networks, [(nodes[:, :2], edges, targets)], [cross_entropy])


class Lengths(nn.Module):
    """Means over the first steps of each sequence, whose number is in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, steps: Tensor, lengths: list[int]) -> Tensor:
        out: Tensor = self.head(torch.stack([row[:n].mean(0) for row, n in zip(steps, lengths, strict=True)]))
        return out


def test_lists_beside_tensors_belong_to_the_examples() -> None:
    networks = two(Lengths)
    steps, lengths, targets = torch.randn(40, 9, 3), [1 + i % 9 for i in range(40)], torch.randint(0, 2, (40,))
    curve = walked(networks, [(steps, lengths, targets)], [cross_entropy])
    expected = at_ends(networks, lambda network: F.cross_entropy(network(steps.double(), lengths), targets))
    assert curve["cross_entropy"].mean[[0, -1]].tolist() == pytest.approx(expected, rel=1e-5)
    evaluator = Evaluator(networks[0].float(), {"test": [(steps, lengths, targets)]})
    with pytest.raises(DataError, match="a list of as many entries that are no tensors"):
        evaluator.sample({"test": np.array([3])})
