"""Gauss length against closed forms and difference quotients in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import AlphaError, LinescapeError, MeasureError, RecipeError, StateError
from linescape.geometry.paths import Bend, Line, Only
from linescape.geometry.state import State
from linescape.interpolation.turning import GaussLength, gauss_length, logit_positions
from tests.support.networks import ConvNet, lived_in


class Scalar(nn.Module):
    """Logits that are a function of one weight and the inputs."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.weight, inputs)


def line_of_scalar(module: nn.Module, end: float = 1.0) -> Line:
    start = State.from_module(module)
    return Line(start, start.replace({"weight": torch.tensor(end, dtype=torch.float64)}))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_linear_network_turns_nowhere() -> None:
    ends = [nn.Linear(4, 3), nn.Linear(4, 3)]
    found = gauss_length(Line(*ends), ends[0], drawn(7, 4), alphas=9, batch=3)
    assert found.lengths.shape == (7,)
    assert found.lengths.max() < 1e-12
    assert not found.still.any()


def test_from_zero_a_network_without_biases_turns_nowhere_and_stands_still_at_the_start() -> None:
    end = nn.Sequential(*(nn.Linear(4, 4, bias=False) if i % 2 == 0 else nn.ReLU() for i in range(5)))
    start = State.from_module(end).replace({name: torch.zeros_like(p) for name, p in end.named_parameters()})
    found = gauss_length(Line(start, end), end, drawn(20, 4), alphas=50)
    assert found.still[0].all()
    assert found.lengths.max() < 1e-10


@pytest.mark.parametrize("angle", [0.3, 2.0, 7.0])
def test_on_an_arc_it_is_the_angle(angle: float) -> None:
    def arc(weight: Tensor, inputs: Tensor) -> Tensor:
        return inputs * torch.stack([torch.cos(weight), torch.sin(weight)])

    module = Scalar(arc)
    found = gauss_length(line_of_scalar(module, angle), module, 1 + drawn(5, 1).abs(), alphas=11)
    np.testing.assert_allclose(found.lengths, angle, rtol=0, atol=1e-6)
    assert found.mean().value == pytest.approx(angle, abs=1e-6)


def test_the_trapezoid_rule_nears_the_angle_between_the_directions_of_a_plane_curve() -> None:
    module = Scalar(lambda weight, inputs: inputs * torch.stack([weight, weight**2]))
    found = gauss_length(line_of_scalar(module), module, torch.ones(2, 1), alphas=101)
    np.testing.assert_allclose(found.lengths, math.atan(2), atol=1e-4)  # (1, 2 alpha) turns from (1, 0) to (1, 2)


def smooth(conv: bool) -> tuple[nn.Module, Line, Tensor]:
    if conv:
        module: nn.Module = ConvNet()
        inputs = drawn(6, 1, 5, 5)
        return module, Line(*(lived_in(module, inputs.float(), seed) for seed in (1, 2))), inputs
    module = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
    inputs = drawn(6, 4)
    return module, Line(*(lived_in(module, inputs.float(), seed) for seed in (1, 2))), inputs


@pytest.mark.parametrize("conv", [False, True], ids=["LayerNorm", "BatchNorm"])
def test_elements_are_how_much_the_direction_changes_by_plain_calls(conv: bool) -> None:
    module, line, inputs = smooth(conv)
    found = gauss_length(line, module, inputs, alphas=(0.0, 0.3, 0.7, 1.0), batch=4)
    plain = (ConvNet() if conv else smooth(False)[0]).double().eval()
    ends = [{n: v.double() for n, v in s.items()} for s in (line.start, line.end)]

    def logits(alpha: float) -> Tensor:
        plain.load_state_dict({name: (1 - alpha) * v + alpha * ends[1][name] for name, v in ends[0].items()})
        with torch.no_grad():
            out: Tensor = plain(inputs)
        return out

    def direction(alpha: float, step: float = 1e-4) -> Tensor:
        return nn.functional.normalize(logits(alpha + step) - logits(alpha - step), dim=1)

    for row in (1, 2):
        alpha, step = found.alphas[row], 1e-4
        expected = ((direction(alpha + step) - direction(alpha - step)) / (2 * step)).norm(dim=1)
        off = np.abs(found.elements[row] / expected.numpy() - 1)
        assert np.sort(off)[: len(off) - 1 if conv else None].max() < 1e-4  # one may pass a kink of ReLU


def test_logits_that_move_by_rounding_alone_stand_still() -> None:
    """Only the length of a weight moves that the network divides by its length: the function is the same everywhere."""

    class Cosine(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tanh(inputs @ (self.weight / self.weight.norm(dim=1, keepdim=True)).T)

    start = nn.Sequential(Cosine(4, 5), nn.Linear(5, 3)).double()
    end = copy.deepcopy(start)
    with torch.no_grad():
        end.get_parameter("0.weight").mul_(2)
    found = gauss_length(Line(start, end), start, drawn(6, 4), 11)
    assert found.speeds.max() < 1e-14
    assert found.still.all()
    assert not found.lengths.any()
    assert not found.angles.any()


def test_of_some_layers_and_in_the_caller_s_network_nothing_changes() -> None:
    module, line, inputs = smooth(True)
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    some = gauss_length(Only(line, ["fc.weight", "fc.bias"]), module, inputs, alphas=5)
    assert some.lengths.max() < 1e-12  # the last layer is linear
    assert module.training
    assert all(torch.equal(before[n], v) for n, v in module.state_dict().items())


def test_the_mean_has_a_t_interval_over_examples() -> None:
    module, line, inputs = smooth(False)
    found = gauss_length(line, module, inputs, alphas=5)
    mean = found.mean()
    reach = 2.5706 * found.lengths.std(ddof=1) / math.sqrt(6)
    assert (mean.low, mean.high) == pytest.approx((mean.value - reach, mean.value + reach), rel=1e-4)
    assert math.isnan(gauss_length(line, module, inputs[:1], alphas=5).mean().low)


def test_logits_that_are_not_finite_are_not_hidden() -> None:
    module, line, inputs = smooth(False)
    inputs = inputs.index_fill(0, torch.tensor([2]), math.nan)
    lengths = gauss_length(line, module, inputs, alphas=3).lengths
    assert np.isnan(lengths).tolist() == [i == 2 for i in range(6)]


def detached(weight: Tensor, inputs: Tensor) -> Tensor:
    return inputs * torch.stack([weight, (weight**2).detach()])


def mixed(weight: Tensor, inputs: Tensor) -> Tensor:
    return (inputs - inputs.mean(0)) * torch.stack([weight, weight**2])


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (detached, "first derivative .* not what they change by"),
        (mixed, "depend on the other examples"),
        (lambda weight, inputs: inputs * weight, "two classes or more"),
        (lambda weight, inputs: (inputs * torch.stack([weight, weight**2])).sum(1), "two classes or more"),
    ],
)
def test_what_would_be_wrong_is_refused(function: Callable[[Tensor, Tensor], Tensor], says: str) -> None:
    module = Scalar(function)
    with pytest.raises(MeasureError, match=says):
        gauss_length(line_of_scalar(module), module, 1 + drawn(5, 1).abs())


class Merging(nn.Linear):
    """As a LoRA layer: `eval` adds to the weight what is beside it."""

    def train(self, mode: bool = True) -> Merging:
        if self.training and not mode:
            self.weight.data *= 2
        return super().train(mode)


def test_weights_that_eval_changes_are_refused() -> None:
    ends = [Merging(4, 3), Merging(4, 3)]
    with pytest.raises(MeasureError, match="from those of a plain call"):
        gauss_length(Line(*ends), ends[0], drawn(5, 4))


def test_running_statistics_that_torch_does_not_differentiate_are_found() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", drawn(4, seed=1))
            self.register_buffer("var", 1 + drawn(4, seed=2).abs())

        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = nn.functional.batch_norm(inputs, self.mean, self.var)  # type: ignore[arg-type]
            return out

    module = Functional()
    start = State.from_module(module)
    end = start.replace({"mean": drawn(4, seed=3), "var": 1 + drawn(4, seed=4).abs()})
    with pytest.raises(MeasureError, match="first derivative"):
        gauss_length(Line(start, end), module, drawn(5, 4))


def test_second_derivatives_that_torch_has_wrong_are_found() -> None:
    class Functional(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return nn.functional.layer_norm(inputs, (8,))

    ends = [nn.Sequential(nn.Linear(4, 8), Functional()) for _ in range(2)]
    with pytest.raises(MeasureError, match="second derivative"):
        gauss_length(Line(*ends), ends[0], drawn(9, 4))


class Encoder(nn.Module):
    """Of torch, which has other operations for inference: they cannot be differentiated forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation="gelu")

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.layer(inputs.view(-1, 3, 4)).mean(1)
        return out


def test_torchs_own_transformer_layer_is_differentiated() -> None:
    ends, inputs, step = [Encoder().double().eval() for _ in "ab"], drawn(4, 12), 1e-3
    line, fused = Line(*ends), torch.backends.mha.get_fastpath_enabled()
    found = gauss_length(line, ends[0], inputs, alphas=(0.5 - step, 0.5, 0.5 + step))
    logits = logit_positions(line, ends[0], inputs, (0.5 - step, 0.5, 0.5 + step))
    after, before = (torch.from_numpy(of) for of in np.diff(logits[1:4], axis=0)[::-1])  # 0 and 1 are around
    turned = nn.functional.normalize(after, dim=1) - nn.functional.normalize(before, dim=1)
    np.testing.assert_allclose(found.elements[2], turned.norm(dim=1) / step, rtol=1e-3)
    assert torch.backends.mha.get_fastpath_enabled() == fused


class Casting(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.float())


class Pair(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs), inputs  # type: ignore[return-value]


@pytest.mark.parametrize(("kind", "says"), [(Casting, "cannot be called in float64"), (Pair, "returns a tuple")])
def test_networks_that_cannot_be_called_as_needed_are_refused(kind: type[nn.Linear], says: str) -> None:
    ends = [kind(4, 3), kind(4, 3)]
    with pytest.raises(MeasureError, match=says):
        gauss_length(Line(*ends), ends[0], drawn(5, 4))


def test_bad_arguments_are_refused() -> None:
    module, line, inputs = smooth(False)
    bend = Bend([line.start, line.at(0.3), line.end])
    cases: list[tuple[type[LinescapeError], Callable[[], object]]] = [
        (StateError, lambda: gauss_length(bend, module, inputs)),
        (AlphaError, lambda: gauss_length(line, module, inputs, alphas=(0.0, 1.0, 1.5))),
        (MeasureError, lambda: gauss_length(line, module, inputs[:0])),
        (StateError, lambda: gauss_length(line, nn.Linear(4, 3), inputs)),
        (RecipeError, lambda: gauss_length(line, module, [1.0])),  # type: ignore[arg-type]
        (
            MeasureError,
            lambda: gauss_length(
                Line(*(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)) for _ in "ab")),
                nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False)),
                inputs,
            ),
        ),
    ]
    for kind, call in cases:
        with pytest.raises(kind):
            call()


def test_angles_count_the_jump_at_a_kink_and_speeds_give_the_way() -> None:
    """The logits go along one axis, and from 1/3 on along both: only the angles see a turn."""
    module = Scalar(lambda weight, inputs: inputs * torch.stack([weight, torch.relu(weight - 1 / 3)]))
    line, inputs = line_of_scalar(module), torch.ones(3, 1)
    found = gauss_length(line, module, inputs, alphas=31)
    assert found.lengths.max() == 0.0
    np.testing.assert_allclose(found.angles, math.pi / 4, rtol=1e-12)
    np.testing.assert_allclose(found.path_lengths, 1 / 3 + 2 / 3 * math.sqrt(2), atol=0.01)
    logits = logit_positions(line, module, inputs, 31)
    np.testing.assert_allclose(logits[:, 0, 1], np.maximum(0, found.alphas - 1 / 3), atol=1e-12)


def test_angles_of_a_smooth_way_are_its_gauss_length() -> None:
    module, line, inputs = smooth(False)
    found = gauss_length(line, module, inputs, alphas=201)
    np.testing.assert_allclose(found.angles, found.lengths, rtol=1e-3)
    chords = np.linalg.norm(np.diff(logit_positions(line, module, inputs, 201), axis=0), axis=2).sum(axis=0)
    np.testing.assert_allclose(found.path_lengths, chords, rtol=1e-3)


def test_it_is_kept_to_the_bit_and_a_damaged_file_is_refused() -> None:
    module = Scalar(lambda weight, inputs: inputs * torch.stack([weight, weight**2]))
    found = gauss_length(line_of_scalar(module), module, torch.ones(2, 1), alphas=5)
    content = found.to_bytes()
    again = GaussLength.from_bytes(content)
    assert all(np.array_equal(getattr(found, name), getattr(again, name)) for name in ("elements", "turns", "speeds"))
    with pytest.raises(ValueError, match="bytes"):
        GaussLength.from_bytes(content[:-1] + b"x")


def test_a_network_that_cannot_be_copied_is_refused() -> None:
    module = nn.Linear(4, 3)
    line = Line(nn.Linear(4, 3), nn.Linear(4, 3))
    module.kept = module(torch.ones(1, 4))
    with pytest.raises(MeasureError, match="cannot be copied"):
        gauss_length(line, module, drawn(2, 4), alphas=3)
