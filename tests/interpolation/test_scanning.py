from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from linescape.errors import DataError, EndsError, MeasureError, OverflowedError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy, error
from linescape.evaluation.runner import Runner
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, cost, scan, walk
from tests.support.networks import ConvNet, Tied, lived_in

Images = tuple[Tensor, Tensor]
Pair = tuple[nn.Module, State, State]


def test_the_callers_network_is_untouched(pair: Pair, images: Images) -> None:
    net, start, end = pair
    net.train()
    net.get_parameter("conv.bias").requires_grad_(False)
    before, random = {n: v.clone() for n, v in net.state_dict().items()}, torch.get_rng_state()
    scan(
        Line(start, end),
        Evaluator(net, {"train": images}),
        ScanOptions(alphas=3, batchnorm=("interpolate", "recalibrate")),
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True, True, True]
    assert torch.equal(torch.get_rng_state(), random)


def test_means_are_over_examples_whatever_the_batches(pair: Pair, images: Images) -> None:
    net, start, end = pair
    curves = [
        scan(Line(start, end), Evaluator(net, {"test": images}, batch_size=size), ScanOptions(alphas=5))
        for size in (37, 20, 1)
    ]
    for curve in curves:
        found = curve["cross_entropy"].mean
        np.testing.assert_allclose(found, curves[0]["cross_entropy"].mean, rtol=1e-5)
        np.testing.assert_array_equal(curve["error"].mean, curves[0]["error"].mean)


def test_batches_may_be_tuples_dictionaries_loaders_or_anything(pair: Pair, images: Images) -> None:
    net, start, end = pair
    x, y = images

    class Keywords(ConvNet):
        def forward(self, pixels: Tensor) -> Any:
            return type("Output", (), {"logits": super().forward(pixels)})()

    def custom(model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return model(batch["deep"]["x"]), batch["deep"]["y"]

    evaluators = [
        Evaluator(net, {"d": [(x, y)]}),
        Evaluator(net, {"d": (x.numpy(), y.numpy())}),
        Evaluator(net, {"d": DataLoader(TensorDataset(x, y), batch_size=37)}),
        Evaluator(Keywords(), {"d": [{"pixels": x, "labels": y}]}),
        Evaluator(net, {"d": [{"deep": {"x": x, "y": y}}]}, forward=custom),
    ]
    curves = [
        scan(Line(start, end), evaluator, ScanOptions(alphas=3))["cross_entropy"].values for evaluator in evaluators
    ]
    assert all(np.array_equal(curve, curves[0]) for curve in curves)


def test_tied_weights_move_once() -> None:
    net, other = Tied(), Tied()
    tokens = torch.arange(7)
    line = Line(State.from_module(net), State.from_module(other))
    curve = scan(line, Evaluator(net, {"train": (tokens, tokens)}), ScanOptions(alphas=3))
    middle = Tied()
    line.at(0.5).load_into(middle)
    assert np.allclose(curve["cross_entropy"].values[1], cross_entropy(middle(tokens), tokens).detach().numpy())


def test_train_and_test_and_own_measures_in_one_walk(pair: Pair, images: Images) -> None:
    def margin(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.max(1).values - outputs.gather(1, targets[:, None])[:, 0]

    net, start, end = pair
    data = {"train": images, "test": (images[0][:10], images[1][:10])}
    curve = scan(Line(start, end), Evaluator(net, data, [cross_entropy, error, margin]), ScanOptions(alphas=4))
    assert set(curve.values) == {
        (d, m, "interpolate") for d in ("train", "test") for m in ("cross_entropy", "error", "margin")
    }
    assert curve.provenance["examples"] == {"train": 37, "test": 10}
    assert json.loads(json.dumps(curve.provenance)) == curve.provenance
    assert type(curve.provenance["torch"]) is str
    np.testing.assert_allclose(curve["train", "margin"].values[:, :10], curve["test", "margin"].values, atol=1e-5)


def test_the_ends_are_checked(pair: Pair, images: Images) -> None:
    net, start, end = pair

    class Shuffled:
        draws = torch.Generator().manual_seed(0)

        def __iter__(self) -> Iterator[Images]:
            order = torch.randperm(37, generator=self.draws)
            yield images[0][order], images[1][order]

    class Noisy(ConvNet):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = super().forward(x) + Noisy.calls.pop()
            return out

        calls = list(torch.randn(100, 1, 3))

    line = Line(start, end)
    assert scan(line, Evaluator(net, {"d": images}), ScanOptions(alphas=3)).provenance["largest_deviation_at_ends"] == {
        "start": 0.0,
        "end": 0.0,
    }
    with pytest.raises(DataError, match="data change between passes"):
        scan(line, Evaluator(net, {"d": Shuffled()}), ScanOptions(alphas=3))
    with pytest.raises(EndsError, match="random in eval mode"):
        scan(line, Evaluator(Noisy(), {"d": images}), ScanOptions(alphas=3))


def test_numbers_that_overflow_are_told_from_data_that_change(pair: Pair, images: Images) -> None:
    net, start, end = pair
    evaluator = Evaluator(net, {"d": images}, [cross_entropy])
    first, *others = walk(Line(start, end), evaluator, ScanOptions(alphas=3))
    for value in (math.nan, math.inf):
        other_order = replace(first, values={key: np.full_like(of, value) for key, of in first.values.items()})
        with pytest.raises(OverflowedError, match="by the order in which the network's operations are done"):
            collect([other_order, *others], Line(start, end), evaluator)


def test_examples_that_change_places_are_told_from_others(pair: Pair, images: Images) -> None:
    net, start, end = pair

    draws = list(torch.randn(500, 37))  # and not drawn in a call, where it would be found

    def shuffling(model: nn.Module, batch: Images) -> Images:
        order = draws.pop()[: len(batch[0])].argsort()
        return model(batch[0][order]), batch[1][order]

    def noisy(model: nn.Module, batch: Images) -> Images:
        return model(batch[0]) + draws.pop()[:3], batch[1]

    parts = [(images[0][:20], images[1][:20]), (images[0][20:], images[1][20:])]
    for data in (images, parts, DataLoader(TensorDataset(*images), batch_size=10)):
        with pytest.raises(EndsError, match="the cross_entropy of the examples of 'd' in another order than direct"):
            scan(Line(start, end), Evaluator(net, {"d": data}, [cross_entropy], shuffling), ScanOptions(alphas=3))
        with pytest.raises(EndsError, match=r"and \d\d of 37 examples differ. Either the data change"):
            scan(Line(start, end), Evaluator(net, {"d": data}, [cross_entropy], noisy), ScanOptions(alphas=3))


def test_a_walk_goes_on_where_it_was_cut(pair: Pair, images: Images) -> None:
    net, start, end = pair
    line, options = Line(start, end), ScanOptions(alphas=9)
    whole = scan(line, Evaluator(net, {"d": images}), options)
    first = list(islice(walk(line, Evaluator(net, {"d": images}), options), 4))
    rest = list(walk(line, Evaluator(net, {"d": images}), options, done={p.alpha for p in first}))
    joined = collect([*rest, *first], line, Evaluator(net, {"d": images}))
    assert len(rest) == 5
    assert np.array_equal(joined["cross_entropy"].values, whole["cross_entropy"].values)


def test_infinite_losses_are_results(images: Images) -> None:
    net = ConvNet()
    start = State.from_module(net)
    end = start.replace({"fc.weight": torch.full((3, 4), 1e38), "conv.weight": torch.full((4, 1, 3, 3), 1e30)})
    curve = scan(Line(start, end), Evaluator(net, {"d": images}), ScanOptions(alphas=3))
    rows = curve.frame().filter(measure="cross_entropy")
    assert rows["not_finite"].to_list()[0] == 0
    assert rows["not_finite"].to_list()[2] > 0
    assert not math.isfinite(rows["mean"].to_list()[2])


def test_bad_data_are_refused(images: Images) -> None:
    net = ConvNet()
    x, y = images
    with pytest.raises(DataError, match="no examples"):
        Evaluator(net, {"d": (x[:0], y[:0])})
    with pytest.raises(DataError, match="37 inputs but 36 targets"):
        Evaluator(net, {"d": (x, y[1:])})
    with pytest.raises(DataError, match="shuffle=True"):
        Evaluator(net, {"d": DataLoader(TensorDataset(x, y), shuffle=True)})
    with pytest.raises(DataError, match="only once"):
        Evaluator(net, {"d": iter([(x, y)])})
    with pytest.raises(DataError, match="no data"):
        Evaluator(net, {})
    with pytest.raises(DataError, match="Give .inputs, targets. tensors"):
        Evaluator(net, {"d": 3})
    line = Line(State.from_module(net), State.from_module(ConvNet()))
    with pytest.raises(DataError, match="no examples"):
        scan(line, Evaluator(net, {"d": []}))
    with pytest.raises(DataError, match="cannot be told apart"):
        scan(line, Evaluator(net, {"d": [x]}))
    with pytest.raises(DataError, match="none of which names the targets"):
        scan(line, Evaluator(net, {"d": [{"x": x}]}))
    with pytest.raises(DataError, match="Labels run from"):
        scan(line, Evaluator(net, {"d": (x, y + 5)}))


def test_bad_measures_are_refused(images: Images) -> None:
    net = ConvNet()

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets).mean()

    def first(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:1, 0]

    line = Line(State.from_module(net), State.from_module(ConvNet()))
    with pytest.raises(MeasureError, match="one value an example"):
        scan(line, Evaluator(net, {"d": images}, [mean]))
    with pytest.raises(MeasureError, match=r"'first' returned shape \(1,\) for targets of shape"):
        scan(line, Evaluator(net, {"d": images}, [error, first]))
    with pytest.raises(MeasureError, match="name of its own"):
        Evaluator(net, {"d": images}, [error, error])


def test_an_estimate_counts_the_passes(pair: Pair, images: Images) -> None:
    net, start, end = pair
    found = cost(
        Line(start, end),
        Evaluator(net, {"train": images}),
        ScanOptions(alphas=50, batchnorm=("interpolate", "recalibrate")),
    )
    assert found.passes == 50 * 2 * 37
    assert found.seconds > 0
    assert "50 alphas, 3,700 forward passes, about" in str(found)


def test_progress_is_drawn_where_asked(pair: Pair, images: Images, capsys: pytest.CaptureFixture[str]) -> None:
    net, start, end = pair
    scan(Line(start, end), Evaluator(net, {"d": images}), ScanOptions(alphas=3, progress=False))
    assert capsys.readouterr().err == ""
    scan(Line(start, end), Evaluator(net, {"d": images}), ScanOptions(alphas=3, progress=True))
    assert "3 alphas" in capsys.readouterr().err


def test_measured_statistics_are_compared_with_plain_calls(
    pair: Pair, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No new copy knows them, so what the engine gives with them is compared with the copy that it stands in for."""
    network, start, end = pair
    options = ScanOptions(alphas=3, batchnorm=("interpolate", "recalibrate"))

    def walked(batch_size: int) -> Curve:
        evaluator = Evaluator(network, {"train": images}, batch_size=batch_size, fast=True)
        return scan(Line(start, end), evaluator, options)

    curve = walked(20)
    update = Runner.update_engine

    def once(runner: Runner, treatment: str) -> None:
        if treatment != "recalibrate" or runner.engine.path not in seen:
            update(runner, treatment)
        seen.extend([runner.engine.path] if treatment == "recalibrate" else [])

    seen: list[object] = []
    monkeypatch.setattr(Runner, "update_engine", once)
    with pytest.raises(EndsError, match="At alpha = 1 the scan gave"):
        walked(20)
    assert curve["train", "cross_entropy", "recalibrate"].values.shape == (3, 37)


def test_batches_whose_examples_act_on_each_other_are_compared_as_a_whole(images: Images) -> None:
    class Centred(ConvNet):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            return out - out.mean(0)

    network = Centred()
    start, end = (lived_in(network, images[0], seed) for seed in (1, 2))
    options = ScanOptions(alphas=3, batchnorm=("recalibrate",))
    curves = [
        scan(Line(start, end), Evaluator(network, {"train": images}, fast=fast), options) for fast in (True, False)
    ]
    for key, values in curves[0].values.items():
        np.testing.assert_allclose(values, curves[1].values[key], rtol=1e-4, atol=1e-5)


class Compared(nn.Module):
    """Likelihoods of the examples of a batch among each other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        rows: Tensor = self.layer(inputs)
        return rows @ rows.T


def test_a_network_whose_examples_act_on_each_other_is_told() -> None:
    torch.manual_seed(0)
    start, end = Compared(), Compared()
    batches = [(torch.randn(40, 6), torch.arange(40)) for _ in range(2)]
    curve = scan(Line(start, end), Evaluator(end, {"d": batches}), ScanOptions(alphas=3))
    (note,) = curve.provenance["notes"]
    assert note.startswith("Examples act on each other")
    plain = nn.Linear(6, 4)
    alone = scan(Line(plain, nn.Linear(6, 4)), Evaluator(plain, {"d": (torch.randn(80, 6), torch.arange(80) % 4)}))
    assert alone.provenance["notes"] == []
