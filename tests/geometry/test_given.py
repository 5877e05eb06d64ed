"""Networks as users have them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from linescape.errors import RecipeError, StateError
from linescape.geometry.given import unwrapped
from linescape.geometry.paths import Bend, Line, Only, Ray
from linescape.geometry.planes import Plane
from linescape.geometry.state import State, difference, distance, norm


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


FORMS: dict[str, Callable[[nn.Module], Any]] = {
    "module": lambda model: model,
    "state": State.from_module,
    "state dict": lambda model: model.state_dict(),
}


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("last", FORMS)
def test_a_line_takes_every_form_of_a_network(first: str, last: str) -> None:
    start, end = network(0), network(1)
    ends = FORMS[first](start), FORMS[last](end)
    if "module" not in (first, last) and "state dict" in (first, last):
        with pytest.raises(StateError, match="does not say which tensors are parameters"):
            Line(*ends)
        return
    line = Line(*ends)
    middle = 0.25 * start.state_dict()["0.weight"].double() + 0.75 * end.state_dict()["0.weight"].double()
    torch.testing.assert_close(line.tensor("0.weight", 0.75).double(), middle, atol=1e-7, rtol=0)
    assert set(line.start.buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_a_line_does_not_follow_a_module_that_is_trained_on() -> None:
    model = network(0)
    line = Line(model, network(1))
    before = line.tensor("0.weight", 0.0).clone()
    with torch.no_grad():
        model.get_parameter("0.weight").add_(1)
    assert torch.equal(line.tensor("0.weight", 0.0), before)


def test_other_paths_take_modules_too() -> None:
    nets = [network(seed) for seed in range(3)]
    states = [State.from_module(net) for net in nets]
    for alpha in (0.0, 0.3, 1.0):
        assert torch.equal(Bend(nets).tensor("0.bias", alpha), Bend(states).tensor("0.bias", alpha))
    direction = {"0.bias": torch.ones(3)}
    assert torch.equal(Ray(nets[0], direction).tensor("0.bias", 2.0), states[0]["0.bias"] + 2)
    line = Line(nets[0], nets[1])
    assert torch.equal(Only(line, ["0.bias"], nets[2]).tensor("0.weight", 0.5), states[2]["0.weight"])


@pytest.mark.parametrize("wrong", ["weights.pt", 3, None, [torch.ones(2)], torch.ones(2)])
def test_what_is_no_network_is_named(wrong: Any) -> None:
    kind = type(wrong).__name__
    with pytest.raises(StateError, match=rf"The end is a {kind}, not a network.*compare\("):
        Line(network(0), wrong)
    with pytest.raises(StateError, match=f"is a {kind}, not a torch.nn.Module"):
        State.from_module(wrong)
    with pytest.raises(StateError, match=f"is a {kind}, not a torch.nn.Module"):
        State.from_state_dict(wrong, {})
    with pytest.raises(StateError, match=f"The state dict is a {kind}"):
        State.from_state_dict(network(0), wrong)


def shallow(model: nn.Module) -> nn.Module:
    return copy.copy(model)


@pytest.mark.parametrize(
    "kept",
    [
        lambda model: model,
        shallow,
        lambda model: model.state_dict(),
        lambda model: dict(model.named_parameters()) | dict(model.named_buffers()),
        lambda model: State.from_module(model, copy=False),
    ],
)
def test_a_start_that_is_trained_along_with_the_end_is_refused(kept: Callable[[nn.Module], Any]) -> None:
    model = network(0)
    before = kept(model)
    with torch.no_grad():  # a training
        for value in model.parameters():
            value.add_(1)
    for ends in ((before, model), (model, before)):
        with pytest.raises(StateError, match=r"the same tensors in memory.*copy.deepcopy"):
            Line(*ends)
    for start in (copy.deepcopy(model), copy.deepcopy(model.state_dict()), State.from_module(model)):
        assert not Line(start, model).moving


def test_equal_states_and_networks_that_share_a_part_are_lines() -> None:
    state = State.from_module(network(0))
    assert not Line(state, state).moving
    first, second = network(0), network(1)
    second[0] = first[0]  # type: ignore[index, operator]
    second.get_parameter("1.bias").data.add_(1)
    assert Line(first, second).moving >= {"1.bias"}
    assert "0.weight" not in Line(first, second).moving


def test_a_state_dict_of_another_network_names_the_tensors() -> None:
    with pytest.raises(StateError, match="2 only in the state dict"):
        Line(network(0), {"model": network(1).state_dict(), "epoch": 3})


def test_wrappers_are_taken_off() -> None:
    model = network(0)
    assert unwrapped(nn.DataParallel(nn.DataParallel(model))) is model
    assert unwrapped(model) is model
    average = AveragedModel(model)
    assert unwrapped(average) is average.module

    class Other(AveragedModel):
        def forward(self, inputs: torch.Tensor) -> Any:
            return 2 * self.module(inputs)

    assert isinstance(unwrapped(Other(model)), Other)  # which computes something else


def test_reprs_are_short_and_hold_no_numbers_of_tensors() -> None:
    line = Line(network(0), network(1))
    wide = State.from_module(nn.Linear(300, 300))
    texts = [repr(each) for each in (line, line.end, wide, Only(line, ["0.bias"]), Bend([network(0), network(1)]))]
    texts += map(repr, (Plane(*(network(seed) for seed in range(3)), names=("x", "y", "z")), Plane.random(network(0))))
    assert texts[1] == "State(7 tensors, 21 parameters: float32 on cpu, int64 on cpu)"
    assert texts[0] == f"Line({texts[1]})"
    assert texts[3] == f"Only({texts[0]}, 0.bias)"
    assert texts[5:] == [f"Plane(x, y, z: {texts[1]})", f"Plane(a: {texts[1]})"]
    assert all(len(text) < 200 and "tensor(" not in text for text in texts)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a, b: distance(a, b), "The start is a Sequential. Give a State"),
        (lambda a, b: difference(State.from_module(a), b), "The start is a Sequential"),
        (lambda a, b: norm(a), "What has a norm is a Sequential"),
        (lambda a, b: Ray(a, b), "The direction is a Sequential"),
        (lambda a, b: Bend(a), "The value of states is a Sequential"),
    ],
)
def test_what_takes_no_modules_says_so(call: Callable[[Any, Any], Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        call(network(0), network(1))
