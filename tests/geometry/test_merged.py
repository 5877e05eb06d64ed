"""The line in merged weights, compared with plain networks into which the updates were merged by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.merged import Merged
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import scan
from tests.support.adapters import SCALE, Adapted, Merging, adapted, network, scaled

ALPHAS = (-0.2, 0.0, 0.3, 0.5, 1.0, 1.4)


def by_hand(net: nn.Module, state: State) -> nn.Module:
    """The plain network with each update in its weight."""
    plain = copy.deepcopy(net)
    state.load_into(plain)
    for layer in plain.modules():
        if isinstance(layer, Adapted):
            weight, (up, down) = layer.weight, layer.factors
            product = layer.scaling["default"] * (up.flatten(1) @ down.flatten(1))
            weight.data += (product.T if layer.transposed else product).reshape(weight.shape)
            up.data.zero_()
    return plain


def call(net: nn.Module, state: State, inputs: Tensor) -> Tensor:
    state.load_into(net)
    with torch.no_grad():
        outputs: Tensor = net.eval()(inputs)
    return outputs


@pytest.mark.parametrize("kind", ["linear", "transposed", "convolution"])
def test_it_is_the_line_between_the_merged_networks_in_outputs(kind: str) -> None:
    net, inputs = network(kind)
    start, end = (adapted(net, seed) for seed in (1, 2))
    path = Merged(start, end, net)
    plain = Line(by_hand(net, start), by_hand(net, end))
    for alpha in ALPHAS:
        expected = call(by_hand(net, start), plain.at(alpha), inputs)
        torch.testing.assert_close(call(net, path.at(alpha), inputs), expected, rtol=1e-10, atol=1e-10)
        if alpha not in (0.0, 1.0):
            assert not torch.allclose(call(net, path.line.at(alpha), inputs), expected, rtol=1e-3)
    assert all(torch.equal(path.tensor(name, 0.0), start[name]) for name in start)
    assert all(torch.equal(path.tensor(name, 1.0), end[name]) for name in end)
    weights = {"0.base_layer.weight", "2.base_layer.weight"}
    assert path.moving == path.line.moving | weights
    assert path.line.moving.isdisjoint(weights)
    assert not path.straight
    assert not path.given_by_ends
    into = torch.empty_like(start["0.base_layer.weight"])
    path.write("0.base_layer.weight", 0.3, into)
    assert torch.equal(into, path.tensor("0.base_layer.weight", 0.3))


def test_a_scan_gives_the_losses_between_networks_merged_by_hand() -> None:
    net, inputs = network("linear")
    net = net.float()
    start, end = (adapted(net, seed) for seed in (1, 2))
    plain = [by_hand(net, state) for state in (start, end)]
    data, options = {"test": (inputs.float(), torch.arange(5) % 4)}, ScanOptions(alphas=5)
    found = scan(Merged(start, end, net), Evaluator(net, data), options)
    expected = scan(Line(*plain), Evaluator(plain[0], data), options)
    factors = scan(Line(start, end), Evaluator(net, data), options)
    assert not found.provenance["notes"]
    assert "Factors of adapters were interpolated" in factors.provenance["notes"][0]
    (key,) = (key for key in expected.values if "cross_entropy" in key)
    np.testing.assert_allclose(found.values[key], expected.values[key], rtol=1e-5)
    assert np.abs(factors.values[key] - expected.values[key])[1:-1].max() > 0.01


def test_the_product_of_factors_lacks_the_product_of_their_changes() -> None:
    net, _ = network("linear")
    start, end = (adapted(net, seed) for seed in (1, 2))
    up, down, weight = (f"0.{name}.weight" for name in ("lora_B.default", "lora_A.default", "base_layer"))
    path, alpha = Merged(start, end, net), 0.3
    on_line = path.line.at(alpha)
    of_ends = [state[up] @ state[down] for state in (start, end)]
    lacking = alpha * (1 - alpha) * (end[up] - start[up]) @ (end[down] - start[down])
    torch.testing.assert_close(on_line[up] @ on_line[down], (1 - alpha) * of_ends[0] + alpha * of_ends[1] - lacking)
    torch.testing.assert_close(path.tensor(weight, alpha) - start[weight], SCALE * lacking)


def test_how_far_apart_both_lines_are_is_told_by_the_merged_weights() -> None:
    net, _ = network("linear")
    start, end = (adapted(net, seed) for seed in (1, 2))
    path = Merged(start, end, net)

    def weights(state: State) -> Tensor:
        plain = State.from_module(by_hand(net, state))
        return torch.cat([plain[f"{layer}.base_layer.weight"].flatten() for layer in "02"])

    middles = [weights(of.at(0.5)) for of in (path.line, path)]
    expected = (middles[1] - middles[0]).norm() / (weights(end) - weights(start)).norm()
    assert path.apart == pytest.approx(float(expected), rel=1e-9)
    assert path.describe() | {"corrected": 2, "apart": path.apart, "path": "Merged"} == path.describe()


def test_other_factors_of_the_same_product_change_the_line_in_factors_only() -> None:
    net, inputs = network("linear")
    start, end = (adapted(net, seed) for seed in (1, 2))
    turn = torch.randn(2, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    up, down = "0.lora_B.default.weight", "0.lora_A.default.weight"
    other = end.replace({up: end[up] @ turn, down: torch.linalg.inv(turn) @ end[down]})
    torch.testing.assert_close(call(net, other, inputs), call(net, end, inputs))
    first, last = Merged(start, end, net), Merged(start, other, net)
    torch.testing.assert_close(call(net, last.at(0.5), inputs), call(net, first.at(0.5), inputs))
    assert not torch.allclose(call(net, last.line.at(0.5), inputs), call(net, first.line.at(0.5), inputs), rtol=1e-2)


def test_where_one_factor_moves_both_lines_are_one() -> None:
    net, _ = network("linear")
    start = adapted(net, 1)
    name = "0.lora_B.default.weight"
    path = Merged(start, start.replace({name: start[name] + 1.0}), net)
    assert path.moving == {name}
    assert path.apart == 0.0
    same_product = {f"0.lora_{of}.default.weight": -start[f"0.lora_{of}.default.weight"] for of in "AB"}
    assert Merged(start, start.replace(same_product), net).apart is None


def test_two_adapters_of_a_layer_add_up_and_modules_tell_their_own_scale() -> None:
    nets = [network("linear", adapters=("default", "other"))[0] for _ in range(2)]
    start, end = (adapted(net, seed) for net, seed in zip(nets, (1, 2), strict=True))
    for net, state in zip(nets, (start, end), strict=True):
        state.load_into(net)
    path, weight = Merged(*nets), "0.base_layer.weight"
    changes = [{name: end[name] - start[name] for name in start if f".{of}." in name} for of in ("default", "other")]
    expected = sum(
        SCALE / 4 * of[f"0.lora_B.{n}.weight"] @ of[f"0.lora_A.{n}.weight"]
        for n, of in zip(("default", "other"), changes, strict=True)
    )
    torch.testing.assert_close(path.tensor(weight, 0.5) - start[weight], expected)
    scaled(nets[1], 3.0)
    with pytest.raises(StateError, match=r"multiplied by 0\.75 at the start and by 3 at the end"):
        Merged(*nets)


def test_layers_that_merge_in_eval_mode_are_measured_as_they_are_loaded() -> None:
    net = Merging()
    start, end = (adapted(net, seed) for seed in (1, 2))
    path = Merged(start, end, net.train())
    lacking = (end["lora_B"] - start["lora_B"]) @ (end["lora_A"] - start["lora_A"]) * SCALE / 4
    torch.testing.assert_close(path.tensor("weight", 0.5) - start["weight"], lacking)
    with pytest.raises(StateError, match=r"in 0 of its weights.*merged already"):
        Merged(start, end, net.eval())


def test_networks_whose_weights_cannot_take_up_the_rest_are_refused() -> None:
    net, _ = network("linear")
    start, end = (adapted(net, seed) for seed in (1, 2))
    with pytest.raises(StateError, match=r"Give the network.*Merged\(start, end, model\)"):
        Merged(start, end)
    same = {name: end[name] for name in end if "lora" in name}
    with pytest.raises(StateError, match="No factor of LoRA differs"):
        Merged(start.replace(same), end, net)
    half = copy.deepcopy(net).bfloat16()
    with pytest.raises(StateError, match=r"is torch\.bfloat16.*model\.float\(\)"):
        Merged(adapted(half, 1), adapted(half, 2), half)
    net.register_parameter("head", next(layer.weight for layer in net.children() if isinstance(layer, Adapted)))
    with pytest.raises(StateError, match=r"used in several places \(tied weights\)"):
        Merged(adapted(net, 1), adapted(net, 2), net)
