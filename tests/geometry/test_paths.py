from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from linescape.errors import AlphaError, GroupError, StateError
from linescape.geometry.paths import Bend, Line, Only, Path, Ray
from linescape.geometry.state import State, difference

Pair = tuple[nn.Module, State, State]


def equal(left: State, right: State) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


def test_both_ends_are_bit_exact_integers_included(pair: Pair) -> None:
    _, start, end = pair
    end = end.replace({"bn.num_batches_tracked": torch.tensor(11)})
    line = Line(start, end)
    assert equal(line.at(0.0), start)
    assert equal(line.at(1.0), end)
    assert line.at(0.5)["bn.num_batches_tracked"] == 11


def test_a_reversed_line_is_the_same_line(pair: Pair) -> None:
    _, start, end = pair
    for alpha in (0.1, 0.5, 0.77):
        there, back = Line(start, end).at(alpha), Line(end, start).at(1 - alpha)
        assert all(torch.allclose(there[n].float(), back[n].float(), rtol=1e-5, atol=1e-6) for n in there.parameters)


def test_a_line_leaves_the_unit_interval(pair: Pair) -> None:
    _, start, end = pair
    weight = Line(start, end).at(2.1)["fc.weight"]
    assert torch.allclose(weight, -1.1 * start["fc.weight"] + 2.1 * end["fc.weight"], rtol=1e-5, atol=1e-6)


def test_only_moves_its_names_and_rests_at_the_end_or_the_start(pair: Pair) -> None:
    _, start, end = pair
    line = Line(start, end)
    final = Only(line, ["fc.weight", "fc.bias"])
    assert final.moving == {"fc.weight", "fc.bias"}
    assert torch.equal(final.at(0.3)["conv.weight"], end["conv.weight"])
    assert torch.equal(final.at(0.3)["fc.weight"], line.at(0.3)["fc.weight"])
    assert equal(final.at(1.0), end)
    initial = Only(line, ["fc.weight"], fixed=start)
    assert torch.equal(initial.at(0.3)["conv.weight"], start["conv.weight"])
    assert equal(initial.at(0.0), start)
    elsewhere = Only(line, ["fc.weight"], fixed=line.at(0.5))
    assert [path.describe()["rest"] for path in (final, initial, elsewhere)] == ["end", "start", "elsewhere"]


def test_only_of_everything_is_the_path_itself(pair: Pair) -> None:
    _, start, end = pair
    line = Line(start, end)
    for alpha in (0.0, 0.4, 1.0):
        assert equal(Only(line, list(line.template)).at(alpha), line.at(alpha))


def test_disjoint_groups_add_up_to_the_line(pair: Pair) -> None:
    _, start, end = pair
    line = Line(start, end)
    parts = [["conv.weight", "conv.bias"], ["bn.weight", "bn.bias"], ["fc.weight", "fc.bias"]]
    moved = {name: Only(line, part).at(0.37)[name] for part in parts for name in part}
    assert all(torch.equal(value, line.at(0.37)[name]) for name, value in moved.items())


def test_a_ray_along_the_difference_is_the_line(pair: Pair) -> None:
    _, start, end = pair
    ray: Path = Ray(start, difference(end, start))
    line = Line(start, end)
    assert equal(ray.at(0.0), start)
    for alpha in (0.3, 1.0, 1.7):
        for name in start.parameters:
            assert torch.allclose(ray.at(alpha)[name], line.at(alpha)[name], rtol=1e-4, atol=1e-6)


def test_a_ray_may_leave_tensors_out(pair: Pair) -> None:
    _, start, _ = pair
    ray = Ray(start, {"fc.bias": torch.ones(3)})
    assert ray.moving == {"fc.bias"}
    assert torch.equal(ray.at(2.0)["fc.bias"], start["fc.bias"] + 2)
    assert ray.describe()["not_interpolated"] == ["bn.num_batches_tracked"]


def test_a_bend_passes_through_its_states_and_a_straight_bend_is_a_line(pair: Pair) -> None:
    _, start, end = pair
    middle = Line(start, end).at(0.5)
    bend = Bend([start, middle, end])
    assert equal(bend.at(0.0), start)
    assert equal(bend.at(0.5), middle)
    assert equal(bend.at(1.0), end)
    uneven = Bend([start, end, start], positions=[0, 0.2, 1])
    assert equal(uneven.at(0.2), end)
    for alpha in (0.2, 0.9, 1.3):
        for name in start.parameters:
            assert torch.allclose(bend.at(alpha)[name], Line(start, end).at(alpha)[name], rtol=1e-4, atol=1e-6)


def test_bad_paths_are_refused(pair: Pair) -> None:
    _, start, end = pair
    line = Line(start, end)
    with pytest.raises(AlphaError, match="nan"):
        line.at(math.nan)
    with pytest.raises(GroupError, match="'fc.wieght'.*Did you mean 'fc.weight'"):
        Only(line, ["fc.wieght"])
    with pytest.raises(GroupError, match="empty"):
        Only(line, [])
    with pytest.raises(StateError, match="The start holds NaN"):
        Line(start.replace({"fc.bias": torch.tensor([math.nan, 0, 0])}), end)
    with pytest.raises(StateError, match="origin lacks"):
        Ray(start, {"nothing": torch.zeros(1)})
    with pytest.raises(StateError, match="shape"):
        Ray(start, {"fc.bias": torch.zeros(4)})
    with pytest.raises(StateError, match="NaN or infinity"):
        Ray(start, {"fc.bias": torch.full((3,), math.inf)})
    with pytest.raises(StateError, match="at least two"):
        Bend([start])
    with pytest.raises(AlphaError, match="rise from 0 to 1"):
        Bend([start, end], positions=[0, 0.5])


def complex_state(seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return State(
        {
            "w": torch.randn(5, dtype=torch.complex64, generator=generator),
            "double": torch.randn(3, dtype=torch.complex128, generator=generator).conj(),
            "narrow": torch.randn(4, generator=generator).to(torch.float8_e5m2),
        },
        {"mask": torch.full((3, 3), -math.inf).triu(1), "unknown": torch.tensor([math.nan, 1.0]), "n": torch.tensor(7)},
    )


def test_complex_tensors_move_and_what_is_equal_stays_infinite() -> None:
    start, end = complex_state(1), complex_state(2)
    line = Line(start, end)
    assert line.moving == {"w", "double", "narrow"}
    about = line.describe()
    assert (about["moving"], about["at_rest"], about["not_interpolated"]) == (3, ["mask", "unknown"], ["n"])
    for path in (line, Bend([start, line.at(0.3), end], [0, 0.3, 1]), Only(line, list(start))):
        for alpha in (0.3, -0.7, 1.4):
            for name, tolerance in (("w", 1e-5), ("double", 1e-5), ("narrow", 0.3)):
                exact = (1 - alpha) * start[name].to(torch.complex128) + alpha * end[name].to(torch.complex128)
                found = path.at(alpha)[name]
                assert found.dtype == start[name].dtype
                assert torch.allclose(found.to(torch.complex128), exact, atol=tolerance)
                written = torch.empty_like(start[name])
                path.write(name, alpha, written)
                assert torch.equal(written.to(torch.complex128), found.to(torch.complex128))
            assert torch.equal(path.at(alpha)["mask"], start["mask"])
    ray = Ray(start, difference(end, start))
    assert ray.moving == line.moving
    assert torch.allclose(ray.at(0.4)["w"], line.at(0.4)["w"], atol=1e-5)
    assert torch.equal(ray.at(0.4)["mask"], start["mask"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.complex64, torch.float8_e5m2])
@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.85, 1.0])
def test_ends_whose_difference_overflows_are_written_as_they_are_given(dtype: torch.dtype, alpha: float) -> None:
    largest = torch.finfo(dtype).max * 0.95
    ends = [torch.tensor([sign * largest, 2.0, 1.0 + sign], dtype=torch.float64) for sign in (1.0, -1.0)]
    start, end = (State({"w": value.to(dtype)}) for value in ends)
    line = Line(start, end)
    found = line.tensor("w", alpha)
    assert bool(found.to(torch.complex128).isfinite().all())
    for path in (line, Only(line, ["w"]), Bend([start, end])):
        written = torch.empty_like(found)
        path.write("w", alpha, written)
        assert torch.equal(written.to(torch.complex128), found.to(torch.complex128))


def test_only_what_moves_must_be_finite() -> None:
    start, end = complex_state(1), complex_state(2)
    for name, value in {
        "mask": torch.zeros(3, 3),
        "unknown": torch.tensor([1.0, math.nan]),
        "w": torch.full((5,), complex(0, math.inf)),
    }.items():
        with pytest.raises(StateError, match=rf"holds NaN or infinity in 1 of 6 tensors: {name}"):
            Line(start, end.replace({name: value}))
    with pytest.raises(StateError, match="origin holds NaN or infinity in 1 of 6 tensors: mask"):
        Ray(start, {"mask": torch.ones(3, 3)})
    fixed = Only(Line(start, end), ["w"], fixed=start)
    assert torch.equal(fixed.at(0.5)["mask"], start["mask"])
    assert fixed.describe()["rest"] == "start"


def test_a_direction_that_cannot_be_gone_is_refused() -> None:
    start = complex_state(1)
    with pytest.raises(StateError, match="'n' is not zero .*cannot move that way"):
        Ray(start, {"n": torch.tensor(1)})
    with pytest.raises(StateError, match="'narrow' is not zero .torch.complex64"):
        Ray(start, {"narrow": torch.ones(4, dtype=torch.complex64)})
    assert Ray(start, {"n": torch.tensor(0), "w": torch.ones(5)}).moving == {"w"}


def test_packed_weights_have_no_line() -> None:
    start = State({"fc.scales": torch.ones(2)}, {"fc.qweight": torch.ones(2, 2, dtype=torch.int32)})
    with pytest.raises(StateError, match="fc.qweight"):
        Line(start, start.replace({"fc.qweight": torch.zeros(2, 2, dtype=torch.int32)}))
    assert Line(start, start.replace({"fc.scales": torch.zeros(2)})).moving == {"fc.scales"}


@pytest.mark.parametrize("alpha", [math.inf, -math.inf, 1e300])
def test_positions_that_no_tensor_can_take_are_refused(alpha: float, pair: Pair) -> None:
    with pytest.raises(AlphaError):
        Line(*pair[1:]).at(alpha)
