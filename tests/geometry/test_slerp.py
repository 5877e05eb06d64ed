from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from linescape.geometry.paths import Line
from linescape.geometry.slerp import NEARLY_PARALLEL, Slerp
from linescape.geometry.state import State, norm

Pair = tuple[nn.Module, State, State]


def mergekit(t: float, start: Tensor, end: Tensor) -> Tensor:
    """mergekit's definition, in float64."""
    v0, v1 = start.double(), end.double()
    angle = math.acos(float((v0 / v0.norm() * (v1 / v1.norm())).sum()))
    return (math.sin(angle - angle * t) * v0 + math.sin(angle * t) * v1) / math.sin(angle)


def vectors(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_each_tensor_is_that_of_merging_tools(dtype: torch.dtype) -> None:
    start, end = (State({"a": vectors(5, 3, seed=s).to(dtype), "b": vectors(7, seed=s + 9).to(dtype)}) for s in (0, 1))
    path = Slerp(start, end)
    for name in start:
        for alpha in (0.21, 0.5, 0.93):
            expected = mergekit(alpha, start[name], end[name]).to(dtype)
            rtol, atol = {torch.bfloat16: (8e-3, 1e-6), torch.float32: (1e-5, 1e-6)}.get(dtype, (1e-12, 1e-12))
            torch.testing.assert_close(path.tensor(name, alpha), expected, rtol=rtol, atol=atol)
            into = torch.empty_like(start[name])
            path.write(name, alpha, into)
            assert torch.equal(into, path.tensor(name, alpha))


def test_ends_of_one_norm_keep_it_on_the_whole_arc_and_lose_it_on_the_line() -> None:
    tensors = [{"a": vectors(6, 4, seed=s).double(), "b": vectors(3, seed=s + 5).double()} for s in (0, 1)]
    states = [State({name: value / norm(State(t)) for name, value in t.items()}) for t in tensors]
    arc, line = Slerp(*states, whole=True), Line(*states)
    assert len(set(arc.angles.values())) == 1
    for alpha in (0.1, 0.5, 0.8):
        assert norm(arc.at(alpha)) == pytest.approx(1.0, abs=1e-12)
        assert norm(line.at(alpha)) < 0.999


def test_both_ends_are_exact_and_buffers_move_straight(pair: Pair) -> None:
    _, start, end = pair
    path, line = Slerp(start, end), Line(start, end)
    for alpha, state in ((0.0, start), (1.0, end)):
        assert all(torch.equal(path.tensor(name, alpha), state[name]) for name in state)
    for name in start.buffers:
        assert torch.equal(path.tensor(name, 0.3), line.tensor(name, 0.3))
    assert not torch.equal(path.tensor("conv.weight", 0.3), line.tensor("conv.weight", 0.3))
    assert path.moving == line.moving
    assert not path.straight
    assert not path.given_by_ends
    described = path.describe()
    assert described["path"] == "Slerp"
    assert described["on_arcs"] == len(start.parameters)


def test_nearly_parallel_opposite_and_zero_tensors_move_straight() -> None:
    a = vectors(40, seed=3)
    ends = {"parallel": a * 1.3 + 1e-4 * vectors(40, seed=4), "opposite": -a, "zero": a, "apart": vectors(40, seed=5)}
    start = State({**dict.fromkeys(ends, a), "zero": torch.zeros(40)})
    path = Slerp(start, State(ends))
    assert set(path.angles) == {"apart"}
    assert 0.9 < NEARLY_PARALLEL < 1
    assert torch.equal(path.tensor("zero", 0.25), torch.lerp(torch.zeros(40), a, 0.25))
    only = Slerp(State({"w": a}), State({"w": a * 2}))
    assert only.straight
    assert only.given_by_ends


def test_singular_vectors_are_those_of_the_weight_on_the_arc() -> None:
    def state(seed: int) -> State:
        torch.manual_seed(seed)
        return State.from_module(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)).eval())

    path = Slerp(state(0), state(1))
    weight, left, right = (f"parametrizations.weight.{name}" for name in ("original", "0._u", "0._v"))
    for alpha in (0.3, 0.5):
        at = path.at(alpha)
        sigma = at[left].double() @ at[weight].double() @ at[right].double()
        assert abs(float(sigma)) == pytest.approx(float(torch.linalg.svdvals(at[weight].double())[0]), rel=1e-5)
        assert not torch.equal(at[weight], Line(path.start, path.end).tensor(weight, alpha))
