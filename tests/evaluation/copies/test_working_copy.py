"""The working copy answers as the network does, or the result says what was done instead."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from linescape.errors import MeasureError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry import writing
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.unruly import (
    CLASSES,
    NOISES,
    WIDTH,
    Counting,
    Differentiating,
    Drawing,
    Listed,
    Merging,
    Overwriting,
    Remembering,
    Scaled,
    Uncopyable,
    hooked,
    rebound,
)

ALPHAS = (0.0, 0.3, 0.5, 0.8, 1.0)
EVERY_FAST = pytest.mark.parametrize("fast", [None, True])


def data(examples: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(examples, WIDTH, generator=generator)
    return inputs, torch.randint(0, CLASSES, (examples,), generator=generator)


def pair(make: Callable[[], Any]) -> tuple[Any, Any]:
    torch.manual_seed(3)
    return make(), make()


def measured(start: Any, end: Any, fast: bool | None = None, given: Any = None) -> Curve:
    line = Line(State.from_module(start), State.from_module(end))
    return scan(line, Evaluator(given or start, {"test": data()}, fast=fast), ScanOptions(alphas=ALPHAS))


def loaded_anew(make: Callable[[], Any], start: Any, end: Any) -> list[float]:
    """The losses of networks that are made anew at each position, loaded and put into eval mode."""
    losses = []
    inputs, targets = data()
    for alpha in ALPHAS:
        network = make()
        states = zip(start.state_dict().items(), end.state_dict().values(), strict=True)
        network.load_state_dict({name: torch.lerp(first, last, alpha) for (name, first), last in states})
        with torch.no_grad():
            losses.append(F.cross_entropy(network.eval()(inputs.clone()), targets).item())
    return losses


def assert_right(curve: Curve, expected: list[float]) -> None:
    np.testing.assert_allclose(curve["test", "cross_entropy"].mean, expected, rtol=1e-5)


@EVERY_FAST
@pytest.mark.parametrize("zero_at_start", [False, True])
def test_weights_that_eval_mode_changes(zero_at_start: bool, fast: bool | None) -> None:
    start, end = pair(Merging)
    if zero_at_start:  # as an adapter begins, so that merging changes nothing there
        nn.init.zeros_(start.up)
    curve = measured(start, end, fast)
    assert_right(curve, loaded_anew(Merging, start, end))
    assert "eval mode changes its weights" in " ".join(curve.provenance["notes"])


def test_layer_wise_lines_of_such_a_network() -> None:
    start, end = pair(Merging)
    evaluator = Evaluator(start, {"test": data()})
    line = Line(State.from_module(start), State.from_module(end))
    curve = scan(Only(line, ["up"]), evaluator, ScanOptions(alphas=ALPHAS))
    part = copy.deepcopy(end)
    part.load_state_dict({**end.state_dict(), "up": start.up})
    assert_right(curve, loaded_anew(Merging, part, end))


@EVERY_FAST
def test_what_is_kept_from_one_position_to_the_next(fast: bool | None) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(WIDTH, 5), Remembering(5, CLASSES))

    start, end = pair(make)
    curve = measured(start, end, fast)
    assert_right(curve, loaded_anew(make, start, end))
    assert "new copy" in " ".join(curve.provenance["notes"])
    assert start[1].kept is None


@EVERY_FAST
@pytest.mark.parametrize("make", [Uncopyable, hooked, rebound])
def test_a_network_without_an_independent_copy_is_walked_itself_and_put_back(
    make: Callable[[], Any], fast: bool | None
) -> None:
    start, end = pair(make)
    start.train()
    start[0].eval()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    curve = measured(start, end, fast)
    assert_right(curve, loaded_anew(make, start, end))
    assert any("network itself was walked" in note for note in curve.provenance["notes"])
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert start.training
    assert not start[0].training
    assert start[2].training
    assert all(parameter.requires_grad for parameter in start.parameters())


def test_a_network_that_cannot_be_copied_has_its_own_precision() -> None:
    start, end = pair(Uncopyable)
    line = Line(State.from_module(start), State.from_module(end))
    with pytest.raises(MeasureError, match="has to be walked itself"):
        scan(line, Evaluator(start, {"test": data()}, precision="bfloat16"))


def test_a_walk_that_fails_puts_the_network_back() -> None:
    start, end = pair(Uncopyable)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    calls = 0

    def failing(outputs: Tensor, _targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise ZeroDivisionError
        return outputs[:, 0]

    line = Line(State.from_module(start), State.from_module(end))
    with pytest.raises(MeasureError, match="ZeroDivisionError"):
        scan(line, Evaluator(start, {"test": data()}, measures=[failing]), ScanOptions(alphas=ALPHAS))
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


def test_a_forward_that_calls_another_network_is_found() -> None:
    start, end = pair(lambda: nn.Linear(WIDTH, CLASSES))
    line = Line(State.from_module(start), State.from_module(end))
    evaluator = Evaluator(start, {"test": data()}, forward=lambda _model, batch: (start(batch[0]), batch[1]))
    curve = scan(line, evaluator, ScanOptions(alphas=ALPHAS))
    assert_right(curve, loaded_anew(lambda: nn.Linear(WIDTH, CLASSES), start, end))


def test_a_network_that_must_be_walked_itself_is_kept() -> None:
    network = hooked()
    state, evaluator = State.from_module(network), Evaluator(network, {"test": data()})
    with torch.no_grad():
        expected = F.cross_entropy(network.eval()(data()[0]), data()[1]).item()
    del network
    gc.collect()
    assert evaluator(state)["test", "cross_entropy"].mean() == pytest.approx(expected, rel=1e-5)


def test_eval_mode_that_changes_a_network_without_copies_is_refused() -> None:
    class Both(Merging):
        def __init__(self) -> None:
            super().__init__()
            self.lock = Uncopyable().lock

    start, end = pair(Both)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    with pytest.raises(MeasureError, match="conv.weight"):
        measured(start, end)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())


@pytest.mark.parametrize("make", [lambda: nn.utils.weight_norm(nn.Linear(WIDTH, CLASSES)), None])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_tensors_that_are_computed_from_others(make: Callable[[], Any] | None) -> None:
    def pruned() -> Any:
        return prune.random_unstructured(nn.Linear(WIDTH, CLASSES), "weight", 0.4)  # type: ignore[no-untyped-call]

    make = make or pruned
    start, end = pair(make)
    for network in (start, end):
        network(data()[0]).sum().backward()  # so that the weight has a gradient function
    assert_right(measured(start, end), loaded_anew(make, start, end))


@EVERY_FAST
def test_a_network_that_differentiates(fast: bool | None) -> None:
    start, end = pair(Differentiating)
    assert_right(measured(start, end, fast), loaded_anew(Differentiating, start, end))
    line = Line(State.from_module(start), State.from_module(end))
    with pytest.raises(MeasureError, match="differentiates"):
        scan(line, Evaluator(start, {"test": data()}, precision="bfloat16"))


@pytest.mark.parametrize("noise", NOISES)
def test_randomness_is_found_named_and_leaves_the_generators(noise: str) -> None:
    start, end = pair(lambda: Drawing(NOISES[noise]))
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    states = torch.get_rng_state(), random.getstate()
    with pytest.raises(MeasureError, match=r"random in eval mode.*inner\.1 \(Noisy\)"):
        measured(start, end)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    numpy_after: Any = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(numpy_after[1], numpy_state[1])


def test_random_numbers_without_effect_are_only_noted() -> None:
    start, end = pair(lambda: Drawing(lambda _: 0.0 * random.random()))
    curve = measured(start, end)
    assert any("draws random numbers" in note for note in curve.provenance["notes"])


@EVERY_FAST
@pytest.mark.parametrize("form", ["tensors", "batches", "dictionary"])
@pytest.mark.parametrize("way", ["view", "out", "rarely"])
def test_the_callers_data_stay_as_they_are(way: str, form: str, fast: bool | None) -> None:
    start, end = pair(lambda: Overwriting(way))
    inputs, targets = data()
    inputs[30:] += 200.0
    before = inputs.clone()
    given = {
        "tensors": (inputs, targets),
        "batches": [(inputs[:20], targets[:20]), (inputs[20:], targets[20:])],
        "dictionary": [{"x": inputs, "labels": targets}],
    }[form]
    line = Line(State.from_module(start), State.from_module(end))
    curve = scan(line, Evaluator(start, {"test": given}, fast=fast), ScanOptions(alphas=ALPHAS))
    assert torch.equal(inputs, before)
    for alpha, network in ((0, start), (-1, end)):
        with torch.no_grad():
            expected = F.cross_entropy(network.eval()(before.clone()), targets).item()
        assert curve["test", "cross_entropy"].mean[alpha] == pytest.approx(expected, rel=1e-5)


def test_tensors_that_no_state_dict_holds_are_named() -> None:
    start, end = pair(Listed)
    notes = " ".join(measured(start, end).provenance["notes"])
    assert "layers[0].weight" in notes
    assert "by_name[extra].bias" in notes
    assert "differ" in notes


def test_what_differs_and_is_not_saved_is_named() -> None:
    torch.manual_seed(0)
    start, end = Scaled(1.0, 1.0), Scaled(2.0, 1.5)
    notes = " ".join(measured(start, end).provenance["notes"])
    assert "scale" in notes
    assert "temperature" in notes
    same = Scaled(1.0, 1.0)
    assert not measured(start, same).provenance["notes"]
    notes = " ".join(measured(start, same, given=end).provenance["notes"])
    assert "scale" in notes
    assert "temperature" in notes


def test_a_network_that_writes_to_itself_begins_anew_at_every_position() -> None:
    start, end = pair(Counting)
    curve = measured(start, end)
    assert_right(curve, loaded_anew(Counting, start, end))
    assert "writes to its own tensors" in " ".join(curve.provenance["notes"])


def test_tensors_without_effect_are_named() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.auxiliary = nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, 1)

        def forward(self, x: Any) -> Any:
            return self.head(x)

    start, end = pair(Unused)
    [note] = measured(start, end).provenance["notes"]
    assert "auxiliary.weight" in note
    assert "head" not in note


@pytest.mark.parametrize("alpha", [-2.0, 3.0])
def test_negative_running_variances_are_an_error(alpha: float) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))

    start, end = pair(make)
    with torch.no_grad():
        start[1].running_var.copy_(torch.tensor([1.0, 1, 1, 5]))
        end[1].running_var.copy_(torch.tensor([1.0, 1, 1, 0.5] if alpha > 0 else [1, 1, 1, 9.0]))
    line = Line(State.from_module(start), State.from_module(end))
    evaluator = Evaluator(start, {"test": data(), "train": data()})
    with pytest.raises(StateError, match=r"1\.running_var"):
        scan(line, evaluator, ScanOptions(alphas=sorted((0.0, 1.0, alpha))))
    curve = scan(line, evaluator, ScanOptions(alphas=sorted((0.0, 1.0, alpha)), batchnorm=("recalibrate", "end")))
    assert np.isfinite(curve["test", "cross_entropy", "recalibrate"].mean).all()


class Written(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(WIDTH, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).tanh())  # type: ignore[no-any-return]


@EVERY_FAST
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_programs_of_torchscript(fast: bool | None) -> None:
    def make() -> Any:
        return torch.jit.script(Written())

    start, end = pair(make)
    assert_right(measured(start, end, fast), loaded_anew(make, start, end))


@pytest.mark.parametrize("fails", [False, True])
def test_weights_that_are_written_together_give_the_same_curve(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = []
    for one_by_one in (frozenset({"cpu"}), frozenset[str]()):
        monkeypatch.setattr(writing, "ONE_BY_ONE", one_by_one)
        if fails and not one_by_one:  # as of a type that a device cannot copy together
            monkeypatch.setattr(torch, "_foreach_copy_", not_implemented)
        curves.append(measured(*pair(lambda: nn.Sequential(nn.Linear(WIDTH, 6), nn.ReLU(), nn.Linear(6, CLASSES)))))
    first, second = (curve["test", "cross_entropy"].values for curve in curves)
    assert np.array_equal(first, second)


def not_implemented(*_: object) -> None:
    raise RuntimeError("not implemented")
