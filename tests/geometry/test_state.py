from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from linescape.errors import StateError
from linescape.geometry.state import (
    State,
    check_finite,
    check_pair,
    difference,
    distance,
    distances,
    lerp,
    negative_variances,
    norm,
)
from tests.support.networks import ConvNet, Tied

FLOATS = st.floats(-1e6, 1e6, width=32)


def test_a_state_is_a_copy_sorted_into_roles() -> None:
    net = ConvNet()
    state = State.from_module(net)
    assert list(state.parameters) == ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]
    assert list(state.buffers) == ["bn.running_mean", "bn.running_var", "bn.num_batches_tracked"]
    before = state["conv.weight"].clone()
    with torch.no_grad():
        net.conv.weight.add_(1)
    assert torch.equal(state["conv.weight"], before)


def test_tied_weights_are_held_once_and_loaded_under_all_names() -> None:
    net = Tied()
    state = State.from_module(net)
    assert state.tied == {"out.weight": "embed.weight"}
    assert "out.weight" not in list(state)
    assert torch.equal(state["out.weight"], state["embed.weight"])
    other = Tied()
    state.load_into(other)
    assert other.out.weight is other.embed.weight
    assert torch.equal(other.out.weight, net.out.weight)


def test_tied_weights_that_differ_in_the_file_are_refused() -> None:
    net = Tied()
    broken = dict(net.state_dict())
    broken["out.weight"] = broken["out.weight"] + 1
    with pytest.raises(StateError, match=r"'out.weight' and 'embed.weight' are one tensor"):
        State.from_state_dict(net, broken)


@given(FLOATS, FLOATS, st.floats(-1, 3))
def test_lerp_is_exact_at_the_ends_and_where_the_ends_agree(a: float, b: float, alpha: float) -> None:
    start, end = torch.tensor([a, a]), torch.tensor([b, a])
    assert torch.equal(lerp(start, end, 0.0), start)
    assert torch.equal(lerp(start, end, 1.0), end)
    assert lerp(start, end, alpha)[1] == start[1]
    expected = (1 - alpha) * start.double() + alpha * end.double()
    assert torch.allclose(lerp(start, end, alpha).double(), expected, rtol=1e-5, atol=1e-6 * (abs(a) + abs(b)) + 1e-44)


def test_lerp_reaches_an_infinite_end() -> None:
    assert lerp(torch.tensor([math.inf]), torch.tensor([1.0]), 1.0).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    start, end = torch.randn(1000).to(dtype), torch.randn(1000).to(dtype)
    moved = lerp(start, end, 1 / 3)
    assert moved.dtype == dtype
    assert torch.equal(moved, torch.lerp(start.float(), end.float(), 1 / 3).to(dtype))


def test_integers_do_not_move() -> None:
    start, end = torch.tensor([1, 2]), torch.tensor([3, 5])
    assert lerp(start, end, 0.0).tolist() == [1, 2]
    assert lerp(start, end, 0.5).tolist() == [3, 5]


def test_distances_leave_running_statistics_out_and_normalise() -> None:
    net = ConvNet()
    start = State.from_module(net)
    moved = {name: value + 2.0 for name, value in start.items() if value.dtype.is_floating_point}
    end = start.replace(moved)
    count = sum(value.numel() for value in net.parameters())
    found = distances(start, end, {"fc": ("fc.weight", "fc.bias"), "statistics": ("bn.running_mean",)})
    assert found["all"].total == pytest.approx(2 * math.sqrt(count), rel=1e-6)
    assert found["all"].per_parameter == pytest.approx(2, rel=1e-6)
    assert found["all"].relative == pytest.approx(found["all"].total / norm(start))
    assert found["fc"].count == 15
    assert found["statistics"].total == 0
    assert math.isnan(found["statistics"].relative)
    assert distance(start, end) == found["all"].total
    assert norm(difference(end, start)) == pytest.approx(found["all"].total)


def test_distance_from_zero_is_relatively_infinite() -> None:
    layer = nn.Linear(2, 2)
    end = State.from_module(layer)
    start = end.replace({name: torch.zeros_like(value) for name, value in end.items()})
    assert distances(start, end)["all"].relative == math.inf


def test_pairs_that_do_not_fit_name_the_tensors() -> None:
    small, large, other = (
        State.from_module(nn.Linear(2, 2)),
        State.from_module(nn.Linear(3, 2)),
        State.from_module(nn.Linear(2, 2, bias=False)),
    )
    with pytest.raises(StateError, match=r"weight: \(2, 2\) and \(2, 3\)"):
        check_pair(small, large)
    with pytest.raises(StateError, match=r"1 only in the start \(bias\)"):
        check_pair(small, other)
    with pytest.raises(StateError, match=r"float32 at the start and torch.float64"):
        check_pair(small, State.from_module(nn.Linear(2, 2).double()))


def test_a_state_of_another_network_is_not_loaded() -> None:
    with pytest.raises(StateError, match="only in the state"):
        State.from_module(nn.Linear(2, 2)).load_into(nn.Linear(2, 2, bias=False))


def test_not_finite_is_named() -> None:
    state = State.from_module(nn.Linear(2, 2))
    broken = state.replace({"weight": torch.tensor([[1.0, math.nan], [math.inf, 2.0]])})
    check_finite(state, "The end")
    with pytest.raises(StateError, match=r"The end holds NaN or infinity in 1 of 2 tensors: weight \(2\)"):
        check_finite(broken, "The end")


def test_replace_refuses_unknown_names() -> None:
    with pytest.raises(StateError, match="'weight'"):
        State.from_module(nn.Linear(2, 2)).replace({"wieght": Tensor([1.0])})


def test_a_state_moves_between_devices_and_keeps_roles() -> None:
    state = State.from_module(Tied()).to("cpu")
    assert state.tied
    assert list(state.buffers) == ["steps"]


class Extra(nn.Linear):
    """A layer that saves more than tensors, as Transformer Engine's do."""

    def __init__(self, scale: object) -> None:
        super().__init__(3, 2)
        self.scale = scale

    def get_extra_state(self) -> object:
        return self.scale

    def set_extra_state(self, state: object) -> None:
        self.scale = state


class Graph(nn.Module):
    """A layer with a sparse matrix as a buffer."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("adjacency", (weight * torch.eye(4)).to_sparse())
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(torch.sparse.mm(self.adjacency, x.T).T)
        return out


EXTRAS = [({"scale": 1.0}, {"scale": 2.0}), (None, 3), (torch.tensor([1], dtype=torch.uint8), torch.zeros(2))]


@pytest.mark.parametrize(("one", "other"), EXTRAS)
def test_what_a_module_saves_besides_tensors_must_be_the_same(one: object, other: object) -> None:
    state, same, different = (State.from_module(Extra(scale)) for scale in (one, one, other))
    assert list(state) == ["weight", "bias"]
    assert list(state.opaque) == ["_extra_state"]
    check_pair(state, same)
    state.check_fits(Extra(one))
    with pytest.raises(StateError, match="differ in _extra_state .*cannot be interpolated"):
        check_pair(state, different)
    with pytest.raises(StateError, match="other values than the state in _extra_state"):
        state.check_fits(Extra(other))
    network = Extra(other)
    state.load_into(network)  # which loads it too
    state.check_fits(network)
    of_file = State.from_state_dict(Extra(other), {name: state[name] for name in state})
    check_pair(state, of_file)  # a file may lack it
    of_file.load_into(network)
    state.check_fits(network)


def test_an_extra_state_is_a_copy() -> None:
    network = Extra({"history": [1.0]})
    state = State.from_module(network)
    assert isinstance(network.scale, dict)
    network.scale["history"].append(2.0)
    with pytest.raises(StateError, match="other values"):
        state.check_fits(network)
    with pytest.raises(StateError, match="cannot be copied"):
        State.from_module(Extra(i for i in range(3)))
    with pytest.raises(StateError, match="only in the state"):
        state.load_into(nn.Linear(3, 2))


def test_layers_that_save_none_or_equal_numbers_are_not_tied() -> None:
    assert not State.from_module(nn.Sequential(Extra(None), Extra(None))).tied
    assert not State.from_module(nn.Sequential(Extra(3), Extra(3))).tied


def test_sparse_buffers_must_be_the_same() -> None:
    state = State.from_module(Graph())
    assert list(state.opaque) == ["adjacency"]
    check_pair(state, State.from_module(Graph()))
    with pytest.raises(StateError, match="adjacency .a tensor of layout torch.sparse_coo"):
        check_pair(state, State.from_module(Graph(2.0)))
    with pytest.raises(StateError, match="'adjacency' is a plain tensor in the state dict and a tensor of layout"):
        State.from_state_dict(Graph(), {**Graph().state_dict(), "adjacency": torch.eye(4)})
    with pytest.raises(StateError, match="'fc.weight' is a tensor of layout torch.sparse_coo in the state dict"):
        State.from_state_dict(Graph(), {**Graph().state_dict(), "fc.weight": torch.ones(2, 4).to_sparse()})


def test_networks_without_values_are_refused() -> None:
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    ready = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for use in (
        lambda: State.from_module(lazy),
        lambda: State.from_state_dict(ready, lazy.state_dict()),
        lambda: State.from_module(ready).load_into(lazy),
        lambda: State.from_module(ready).check_fits(lazy),
    ):
        with pytest.raises(StateError, match="not initialised yet .*Call the network once"):
            use()
    with torch.device("meta"):
        empty = State.from_module(nn.Linear(2, 3))
    with pytest.raises(StateError, match=r"The start has tensors on the device 'meta' \(weight, bias\), so they have"):
        check_pair(empty, empty)


def test_a_missing_count_of_batches_is_no_difference() -> None:
    net = ConvNet()
    old = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    state = State.from_state_dict(net, old)
    assert state["bn.num_batches_tracked"] == 0
    check_pair(state, State.from_module(net))
    frozen = nn.Linear(2, 2)
    assert list(State.from_state_dict(frozen, {**frozen.state_dict(), "num_batches_tracked": torch.tensor(3)})) == [
        "weight",
        "bias",
    ]


def test_distances_of_complex_and_of_infinite_parameters() -> None:
    start = State({"w": torch.tensor([3 + 4j, 1j]), "mask": torch.tensor([-math.inf, 0.0])})
    end = start.replace({"w": torch.tensor([0j, 1j + 12])})
    assert norm(State({"w": start["w"]})) == pytest.approx(math.sqrt(26))
    assert distances(start, end, {"w": ("w",)})["w"].relative == pytest.approx(13 / math.sqrt(26))
    assert distance(start, end) == pytest.approx(13)
    assert math.isnan(distances(start, end)["all"].relative)
    assert difference(end, start)["w"].tolist() == [-3 - 4j, 12]
    assert difference(end, start)["mask"].tolist() == [0, 0]


def test_running_variances_below_zero_are_named() -> None:
    tensors = {
        "a.running_var": torch.tensor([1.0, -1e-9]),
        "b.running_var": torch.tensor([0.0]),
        "running_var": torch.tensor([math.nan, -1.0]),
        "a.running_mean": torch.tensor([-1.0]),
        "not_running_var": torch.tensor([-1.0]),
    }
    assert negative_variances(tensors) == ["a.running_var", "running_var"]


def test_tensors_on_several_devices_are_refused() -> None:
    state = State.from_module(nn.Linear(2, 2))
    elsewhere = state.replace({"weight": state["weight"].to("meta")})
    with pytest.raises(StateError, match="meta"):
        check_pair(state, elsewhere)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # that this quantisation goes away
def test_layers_that_pack_their_weights_are_loaded_and_not_interpolated() -> None:
    def packed(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        quantise: Any = torch.ao.quantization.quantize_dynamic
        network: nn.Module = quantise(nn.Sequential(nn.Linear(4, 3)), {nn.Linear}, torch.qint8)
        return network

    state, network = State.from_module(packed(1)), packed(2)
    check_pair(state, State.from_module(packed(1)))
    with pytest.raises(StateError, match="0._packed_params._packed_params .a tuple"):
        check_pair(state, State.from_module(network))
    state.load_into(network)
    inputs = torch.randn(5, 4)
    assert torch.equal(network(inputs), packed(1)(inputs))
    state.check_fits(network)


def test_a_layer_that_does_not_take_what_it_saved_is_an_error() -> None:
    class Stubborn(Extra):
        def set_extra_state(self, state: object) -> None:
            raise KeyError("scale")

    with pytest.raises(StateError, match="Stubborn does not load this state"):
        State.from_module(Stubborn(1.0)).load_into(Stubborn(1.0))
