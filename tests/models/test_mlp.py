from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import linescape as ls
from linescape import models
from linescape.recipe import MLP, Random
from tests.support.tensor_shapes import meta


def test_the_mlp_of_li_et_al_has_199210_parameters() -> None:
    assert sum(p.numel() for p in meta(MLP((200, 200)), (1, 28, 28), 10).parameters()) == 199_210


# -- maxout -------------------------------------------------------------------------------------------------------


def test_the_maxout_network_of_goodfellow_et_al_has_as_many_parameters_as_its_layers() -> None:
    layers = (784 * 1200 + 1200) + (240 * 1200 + 1200) + (240 * 10 + 10)
    network = meta(MLP((240, 240), "maxout"), (1, 28, 28), 10)
    assert sum(p.numel() for p in network.parameters()) == layers


def drawn(spec: MLP, shape: tuple[int, ...] = (2, 3), scheme: Any = "default", seed: int = 0) -> models.Network:
    return models.draw(spec, shape, 3, Random(scheme), seed).double()


def test_a_maxout_unit_is_the_largest_of_its_pieces() -> None:
    network = drawn(MLP((4, 2), "maxout", pieces=3))
    inputs = torch.randn(5, 2, 3, dtype=torch.float64)
    values = network.state_dict()
    x = inputs.flatten(1).numpy()
    for layer, width in enumerate((4, 2)):
        weight, bias = (values[f"layers.{layer}.{part}"].numpy() for part in ("weight", "bias"))
        units = [[max(row @ weight[3 * u + k] + bias[3 * u + k] for k in range(3)) for u in range(width)] for row in x]
        x = np.array(units)
    logits = x @ values["layers.2.weight"].numpy().T + values["layers.2.bias"].numpy()
    assert np.abs(network(inputs).detach().numpy() - logits).max() < 1e-12


def test_two_pieces_of_which_one_is_zero_are_a_relu() -> None:
    relu, maxout = drawn(MLP((4,))), drawn(MLP((4,), "maxout", pieces=2))
    with torch.no_grad():
        for name, value in relu.state_dict().items():
            mine = maxout.state_dict()[name]
            if name.startswith("layers.0"):
                mine.zero_()[::2] = value
            else:
                mine.copy_(value)
    inputs = torch.randn(50, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(maxout(inputs), relu(inputs), atol=1e-14, rtol=0)


# -- biases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "those"), [("all", ["0", "1", "2"]), ("hidden", ["0", "1"]), ("none", [])], ids=str)
def test_which_layers_have_a_bias(bias: Any, those: list[str]) -> None:
    names = meta(MLP((5, 4), bias=bias), (6,), 3).state_dict()
    assert [name for name in names if name.endswith("bias")] == [f"layers.{layer}.bias" for layer in those]


def test_without_the_last_bias_the_other_layers_are_drawn_alike() -> None:
    one, other = drawn(MLP((5, 4))).state_dict(), drawn(MLP((5, 4), bias="hidden")).state_dict()
    assert all(torch.equal(one[name], value) for name, value in other.items())


@pytest.mark.parametrize("width", [1, 7])
@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("activation", ["relu", "maxout"])
def test_without_biases_a_line_from_zeros_gives_alpha_to_the_number_of_layers(
    activation: Any, depth: int, width: int
) -> None:
    spec = MLP((width,) * (depth - 1), activation, bias="none")
    network, start = drawn(spec, scheme="normal", seed=depth), drawn(spec, scheme="zeros")
    if width == 1:  # the chain of scalar weights, which a negative one would cut with ReLU
        for layer in range(depth - 1):
            network.get_parameter(f"layers.{layer}.weight").detach().abs_()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(40, 2, 3, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, 3, (40,), generator=generator)
    outputs = network(inputs).detach()
    assert float(outputs.abs().max()) > 0.01
    line = ls.Line(start, network)
    alphas = [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0, 2.0]
    for alpha in alphas:
        line.at(alpha).load_into(start)
        expected = alpha**depth * outputs
        assert float((start(inputs).detach() - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
    curve = ls.scan(line, ls.Evaluator(network, {"test": (inputs, targets)}), ls.ScanOptions(alphas=alphas))
    losses = [torch.nn.functional.cross_entropy(alpha**depth * outputs, targets) for alpha in alphas]
    assert curve["test", "cross_entropy"].mean == pytest.approx([float(loss) for loss in losses], rel=1e-6)
