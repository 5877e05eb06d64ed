from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from linescape.errors import RecipeError, StateError
from linescape.geometry.planes import Plane
from linescape.geometry.state import State, distance
from tests.support.networks import ConvNet, lived_in


@pytest.fixture
def three(images: tuple[Tensor, Tensor]) -> tuple[State, State, State]:
    net = ConvNet()
    a, b, c = (lived_in(net, images[0], seed) for seed in (1, 2, 3))
    return a, b, c.replace({"bn.num_batches_tracked": torch.tensor(11)})


def test_the_networks_are_exact_at_their_places_and_distances_are_true(three: tuple[State, State, State]) -> None:
    plane = Plane(*three)
    xs, ys = plane.grid(7)
    for state, (x, y) in zip(three, plane.marks.values(), strict=True):
        assert x in xs
        assert y in ys
        at = plane.at(x, y)
        assert all(torch.equal(at[name], state[name]) for name in state)
        row = plane.row(y, xs.tolist())
        on_row = row.at(row.alphas[xs.tolist().index(x)])
        assert all(torch.equal(on_row[name], state[name]) for name in state)
    (ax, ay), (bx, by), (cx, cy) = plane.marks.values()
    assert (ax, ay, bx, by) == (0.0, 0.0, 1.0, 0.0)
    a, b, c = three
    assert plane.unit == pytest.approx(distance(a, b))
    assert plane.unit * (cx**2 + cy**2) ** 0.5 == pytest.approx(distance(a, c), rel=1e-6)
    assert plane.unit * ((cx - 1) ** 2 + cy**2) ** 0.5 == pytest.approx(distance(b, c), rel=1e-6)
    # and between any two positions
    places = (0.3, -0.2), (1.1, 0.7)
    apart = distance(*(plane.at(*place) for place in places))
    assert apart == pytest.approx(plane.unit * (0.8**2 + 0.9**2) ** 0.5, rel=1e-5)


def test_positions_are_affine_combinations_in_float64(three: tuple[State, State, State]) -> None:
    a, b, c = ({name: value.double() for name, value in state.items()} for state in three)
    plane = Plane(*three)
    p, q = plane.marks["c"]
    x, y = 0.4, 0.3
    of_c = y / q
    of_b = x - p * of_c
    state = plane.at(x, y)
    for name in ("conv.weight", "fc.bias", "bn.running_var"):
        expected = (1 - of_b - of_c) * a[name] + of_b * b[name] + of_c * c[name]
        torch.testing.assert_close(state[name].double(), expected, rtol=1e-5, atol=1e-6)


def test_what_only_the_third_network_changes_rests_in_a_row(three: tuple[State, State, State]) -> None:
    a, b, c = three
    b = b.replace({"fc.weight": a["fc.weight"]})
    row = Plane(a, b, c).row(0.25, [-0.3, 0.1, 1.2])
    assert "fc.weight" not in row.moving
    values = [row.tensor("fc.weight", alpha) for alpha in row.alphas]
    assert all(torch.equal(value, values[0]) for value in values)
    assert not torch.equal(values[0], a["fc.weight"])


def test_networks_on_one_line_or_equal_are_refused(three: tuple[State, State, State]) -> None:
    a, b, _ = three
    middle = a.replace({name: (a[name] + b[name]) / 2 for name in a.parameters})
    for others in ((b, middle), (b, a), (a, b)):
        with pytest.raises(StateError, match="lie on one line, or two are equal"):
            Plane(a, *others)
    with pytest.raises(StateError, match="a name of its own"):
        Plane(*three, names=("x", "x", "y"))
    with pytest.raises(StateError, match="NaN or infinity"):
        Plane(a, b, b.replace({"fc.bias": b["fc.bias"] / 0}))


@pytest.mark.parametrize("normalise", ["filter", "layer", "none"])
def test_random_directions_have_the_norms_of_filters_or_layers(
    pair: tuple[nn.Module, State, State], normalise: str
) -> None:
    _, a, _ = pair
    plane = Plane.random(a, normalise, seed=4)  # type: ignore[arg-type]
    assert plane.moving == {"conv.weight", "fc.weight"}  # neither biases, BatchNorm nor buffers
    for place in ((1.0, 0.0), (0.0, 1.0)):
        state = plane.at(*place)
        for name in plane.moving:
            step = state[name] - a[name]
            axes = tuple(range(1, step.ndim))
            if normalise == "filter":
                wanted, found = (torch.linalg.vector_norm(value, dim=axes) for value in (a[name], step))
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
            elif normalise == "layer":
                torch.testing.assert_close(step.norm(), a[name].norm(), rtol=1e-4, atol=1e-5)
        assert all(state[name] is a[name] for name in a if name not in plane.moving)
    again, other = (Plane.random(a, normalise, seed=seed).at(0.5, 0.5) for seed in (4, 5))  # type: ignore[arg-type]
    assert torch.equal(again["conv.weight"], plane.at(0.5, 0.5)["conv.weight"])
    assert not torch.equal(other["conv.weight"], again["conv.weight"])
    assert all(torch.equal(plane.at(0.0, 0.0)[name], a[name]) for name in a)


def test_a_filter_of_zeros_stays_zero(pair: tuple[nn.Module, State, State]) -> None:
    _, a, _ = pair
    weight = a["fc.weight"].clone()
    weight[1] = 0
    moved = Plane.random(a.replace({"fc.weight": weight})).at(0.7, -0.2)["fc.weight"]
    assert not moved[1].any()


def test_random_planes_that_cannot_be_are_refused(pair: tuple[nn.Module, State, State]) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'filter'"):
        Plane.random(pair[1], "filters")  # type: ignore[arg-type]
    with pytest.raises(StateError, match="nothing would move"):
        Plane.random(State({"bias": torch.ones(3)}))


def test_positions_of_negative_variances_are_left_out(three: tuple[State, State, State]) -> None:
    a, b, c = three
    wide = b.replace({"bn.running_var": 10 * a["bn.running_var"]})
    plane = Plane(a, wide, c)
    kept = plane.measurable(0.0, [-0.5, -0.05, 0.0, 0.5, 1.0])
    assert kept == [-0.05, 0.0, 0.5, 1.0]


def test_half_precision_is_computed_wide_and_rounded_once() -> None:
    drawn = [torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1, 2)]
    a, b, c = (State({"w": value.to(torch.bfloat16)}) for value in drawn)
    plane = Plane(a, b, c)
    p, q = plane.marks["c"]
    of_c = 0.4 / q
    of_b = 0.3 - p * of_c
    exact = (1 - of_b - of_c) * a["w"].double() + of_b * b["w"].double() + of_c * c["w"].double()
    found = plane.at(0.3, 0.4)["w"]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=4.1e-3, atol=1e-6)


@pytest.mark.parametrize("random", [False, True])
def test_singular_vectors_are_those_of_the_weights_there(random: bool) -> None:
    def state(seed: int) -> State:
        torch.manual_seed(seed)
        return State.from_module(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)).eval())

    plane = Plane.random(state(0)) if random else Plane(state(0), state(1), state(2))
    weight, left, right = (f"parametrizations.weight.{name}" for name in ("original", "0._u", "0._v"))
    for place in ((-1.0, 0.25), (-2.0, 0.25), (0.5, 0.5)):  # of the first two, hashes are equal
        at = plane.at(*place)
        largest = float(torch.linalg.svdvals(at[weight].double())[0])
        sigma = at[left].double() @ at[weight].double() @ at[right].double()
        assert abs(float(sigma)) == pytest.approx(largest, rel=1e-5)
    row = plane.row(0.25, [-1.0, 0.0, 1.0])
    assert {left, right} <= row.moving
    assert not row.straight
