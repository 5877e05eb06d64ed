"""The evaluator: its private copy, direct evaluation, samples, and walks one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from linescape.engine import Worth
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import collect, scan, walk
from tests.support.engine import ALPHAS, assert_close, drawn, labels, line_of, lines, noted
from tests.support.engine_networks import IMAGES, InPlace, small


def test_without_a_copy_the_network_itself_is_the_working_copy() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    line, data = line_of(net, drawn(20, 4)), (drawn(20, 4), labels(20))
    expected = scan(line, Evaluator(net, {"test": data}), ScanOptions(alphas=ALPHAS))
    evaluator = Evaluator(net, {"test": data}, copy=False)
    assert evaluator.model is net
    found = scan(line, evaluator, ScanOptions(alphas=ALPHAS))
    assert np.array_equal(found["test", "cross_entropy"].values, expected["test", "cross_entropy"].values)
    assert all(torch.equal(value, line.end[name]) for name, value in net.state_dict().items())


def test_the_callers_network_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    net = InPlace().train()
    seen: list[Any] = []
    net.bn1.register_forward_hook(lambda layer, inputs, output: seen.append(type(output)))
    before, random = {n: v.clone() for n, v in net.state_dict().items()}, torch.get_rng_state()
    attributes = {layer: dict(vars(layer)) for layer in net.modules()}
    whole = Line(State.from_module(net), State.from_module(InPlace()))
    random = torch.get_rng_state()
    evaluator = Evaluator(net, {"train": (IMAGES, labels(40))}, fast=True)
    scan(whole, evaluator, ScanOptions(alphas=3, batchnorm=("interpolate", "recalibrate")))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(dict(vars(layer)) == held for layer, held in attributes.items())
    assert torch.equal(torch.get_rng_state(), random)
    assert set(seen) == {Tensor}


def test_a_walk_goes_on_where_it_was_cut_and_an_evaluator_walks_again() -> None:
    net, whole, (inputs, targets) = small()
    data = {"d": (inputs, targets)}
    one = Evaluator(net, data, fast=True)
    expected = scan(whole, one, ScanOptions(alphas=ALPHAS))
    for path in lines(net, whole).values():
        scan(path, one, ScanOptions(alphas=3))
    assert np.array_equal(scan(whole, one, ScanOptions(alphas=ALPHAS))["error"].values, expected["error"].values)
    two = Evaluator(net, data, fast=True)
    points = list(walk(whole, two, ScanOptions(alphas=ALPHAS), done=(0.0,)))
    points += walk(whole, one, ScanOptions(alphas=ALPHAS), done=(0.4, 1.0))
    found = collect(points, whole, two)
    assert np.array_equal(found["cross_entropy"].values, expected["cross_entropy"].values)


def test_direct_evaluation_between_points_changes_nothing() -> None:
    net, whole, (inputs, targets) = small()
    for path in (whole, Only(whole, ["fc.weight"])):
        evaluator = Evaluator(net, {"d": (inputs, targets)}, fast=True)
        expected = scan(path, evaluator, ScanOptions(alphas=ALPHAS))
        points = []
        for point in walk(path, evaluator, ScanOptions(alphas=ALPHAS)):
            points.append(point)
            evaluator(whole.at(0.7))
        assert np.array_equal(collect(points, path, evaluator)["error"].values, expected["error"].values)


def test_a_short_walk_keeps_no_later_one_from_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    net = InPlace().eval()
    whole = line_of(net, IMAGES)
    evaluator = Evaluator(net, {"d": (IMAGES, labels(40))})
    monkeypatch.setattr("linescape.evaluation.evaluator.WORTH", 0)
    scan(whole, evaluator, ScanOptions(alphas=2))
    assert not evaluator.engine.batch_invariant
    monkeypatch.setattr("linescape.evaluation.evaluator.WORTH_RECORDING", {"cpu": 0, "cuda": 0})
    assert not noted(scan(whole, evaluator, ScanOptions(alphas=2)))
    assert evaluator.engine.batch_invariant


def test_a_sample_is_measured_and_nothing_else() -> None:
    net, whole, data = small()
    rows = np.arange(0, 40, 2)
    evaluators = [Evaluator(net, {"d": data}, fast=fast, batch_size=8).sample({"d": rows}) for fast in (False, True)]
    expected, found = (scan(whole, evaluator, ScanOptions(alphas=3)) for evaluator in evaluators)
    assert found["cross_entropy"].values.shape == (3, 20)
    assert_close(found, expected)


def test_a_sample_that_walks_another_path_leaves_no_stale_position() -> None:
    net, whole, data = small()
    evaluator = Evaluator(net, {"d": data})
    evaluator.start_path(whole, 2)
    evaluator.load_position(whole, 0.25)
    scan(Only(whole, ["fc.weight"]), evaluator.sample({"d": np.arange(9)}), ScanOptions(alphas=2))
    evaluator.load_position(whole, 0.25)
    assert all(torch.equal(value, whole.at(0.25)[name]) for name, value in evaluator.model.state_dict().items())


def test_counting_and_sampling_leave_the_random_state_alone() -> None:
    net, _, (inputs, targets) = small()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=8)  # which draws a seed whenever it is read
    before = torch.get_rng_state()
    evaluator = Evaluator(net, {"d": loader})
    evaluator.count_operations()
    evaluator.sample({"d": np.arange(3)})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WORTH_COMPILING", 0, Worth(compiling=True, recording=False, replaying=False)),
        ("WORTH_RECORDING", {"cuda": 0}, Worth(compiling=False, recording=True, replaying=True)),
    ],
)
def test_a_walk_is_prepared_as_far_as_it_is_worth(
    name: str, value: object, expected: Worth, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, whole, data = small()
    evaluator = Evaluator(net, {"d": data})
    monkeypatch.setattr("linescape.evaluation.evaluator.WORTH", 0)
    scan(whole, evaluator, ScanOptions(alphas=2))
    assert evaluator.engine.worth == Worth(compiling=False, recording=False)
    monkeypatch.setattr(f"linescape.evaluation.evaluator.{name}", value)
    for alphas in (9, 3):  # a walk that goes on with fewer positions keeps what it had
        scan(whole, evaluator, ScanOptions(alphas=alphas))
        assert evaluator.engine.worth == expected
