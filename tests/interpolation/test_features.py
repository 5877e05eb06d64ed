"""Features of each layer against closed forms and brute force in float64, and what has none is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linescape.errors import AlphaError, DataError, LinescapeError, MeasureError, RecipeError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.interpolation.features import FeatureConnectivity, feature_connectivity


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """In float64, every parameter and running mean drawn, and running variances positive."""
    state = {
        name: value if not value.is_floating_point() else drawn(*value.shape, seed=seed + place)
        for place, (name, value) in enumerate(module.double().state_dict().items())
    }
    module.load_state_dict({n: 0.5 + v.square() if n.endswith("running_var") else v for n, v in state.items()})
    return module


def mlp(seed: int) -> nn.Module:
    return randomised(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), seed)


def convolutional(seed: int) -> nn.Module:
    stage = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    return randomised(nn.Sequential(stage, nn.Flatten(), nn.Linear(12, 3)), seed)


def evaluator_of(module: nn.Module, inputs: Tensor, **settings: int) -> Evaluator:
    labels = torch.zeros(len(inputs), dtype=torch.long)
    return Evaluator(module, {"test": (inputs, labels), "train": (inputs, labels)}, **settings)  # type: ignore[arg-type]


def test_a_linear_layer_gives_the_mixture_itself() -> None:
    ends = [randomised(nn.Linear(4, 3), seed) for seed in (1, 5)]
    inputs = drawn(7, 4)
    found = feature_connectivity(Line(*ends), evaluator_of(ends[0], inputs), (0.0, 0.3, 0.5, 1.0))
    assert found.layers == ("(top)",)
    assert np.abs(found.distances).max() < 1e-14
    np.testing.assert_allclose(found.coefficients, 1.0, rtol=1e-6)
    with torch.no_grad():
        cosine = torch.cosine_similarity(ends[0](inputs), ends[1](inputs), dim=1)
    np.testing.assert_allclose(found.ends[0], 1 - cosine, rtol=1e-6)


def test_two_linear_layers_against_their_closed_form() -> None:
    """``W2 W1 x`` at the middle is a quarter of all four products, and the mixture is half of two."""
    ends = [randomised(nn.Sequential(nn.Linear(4, 6, False), nn.Linear(6, 3, False)), seed) for seed in (1, 5)]
    inputs = drawn(9, 4)
    found = feature_connectivity(Line(*ends), evaluator_of(ends[0], inputs), 3)
    (a1, a2), (b1, b2) = (list(end.state_dict().values()) for end in ends)
    between = inputs @ ((a2 + b2) @ (a1 + b1) / 4).T
    mixture = inputs @ ((a2 @ a1 + b2 @ b1) / 2).T
    np.testing.assert_allclose(found.distances[1, 1], 1 - torch.cosine_similarity(between, mixture, dim=1), rtol=1e-6)
    fitted = (between * mixture).sum(1) / mixture.square().sum(1)
    np.testing.assert_allclose(found.coefficients[1, 1], fitted, rtol=1e-6)
    assert np.abs(found.distances[1, 0]).max() < 1e-14, "the input of the first layer does not move"


@pytest.mark.parametrize("make", [mlp, convolutional])
def test_every_module_against_hooks_on_a_loaded_network(make: type[nn.Module]) -> None:
    ends = [make(seed) for seed in (1, 20)]
    inputs = drawn(11, 4) if make is mlp else drawn(11, 1, 4, 4)
    found = feature_connectivity(Line(*ends), evaluator_of(ends[0], inputs, batch_size=4), (0.0, 0.3, 1.0))
    states = [end.state_dict() for end in ends]
    weighted = {name: 0.7 * states[0][name] + 0.3 * states[1][name] for name in states[0]}
    middle = make(0)
    middle.load_state_dict(weighted)
    seen: dict[str, list[Tensor]] = {}
    for module in (*ends, middle):
        for name, layer in module.named_modules():
            layer.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out.clone()))
        with torch.no_grad():
            module.eval()(inputs)
    assert len(found.layers) == 5
    for place, name in enumerate(found.layers):
        a, b, m = (values.flatten(1) for values in seen[name])
        mixture = 0.7 * a + 0.3 * b
        defined = (mixture.norm(dim=1) > 0) & (m.norm(dim=1) > 0)
        expected = 1 - torch.cosine_similarity(m, mixture, dim=1, eps=1e-300)
        np.testing.assert_allclose(found.distances[1, place][defined], expected[defined], rtol=1e-5, atol=1e-12)
        assert np.isnan(found.distances[1, place][~defined]).all()
        fitted = (m * mixture).sum(1) / mixture.square().sum(1)
        np.testing.assert_allclose(found.coefficients[1, place][defined], fitted[defined], rtol=1e-5)


def test_batchnorm_is_treated_as_the_rest_of_the_library_does() -> None:
    ends = [convolutional(seed) for seed in (1, 20)]
    evaluator, line = evaluator_of(ends[0], drawn(12, 1, 4, 4)), Line(*ends)
    found = {
        treatment: feature_connectivity(line, evaluator, 3, layers=["0.1"], batchnorm=treatment)
        for treatment in ("interpolate", "recalibrate", "batch", "start", "end")
    }
    for of_treatment in found.values():
        assert np.abs(of_treatment.distances[[0, 2]]).max() < 1e-12, "both ends are treated alike"
    np.testing.assert_allclose(found["recalibrate"].distances, found["batch"].distances, atol=1e-3)
    frozen = {n: v for n, v in ends[0].state_dict().items() if "running" in n or "tracked" in n}
    alike = Line(State.from_module(ends[0]), State.from_module(ends[1]).replace(frozen))
    expected = feature_connectivity(alike, evaluator, 3, layers=["0.1"])
    np.testing.assert_allclose(found["start"].distances, expected.distances, atol=1e-12)
    assert found["end"].distances[1].max() > 1e-3
    assert found["batch"].provenance["batchnorm"] == "batch"


def test_outputs_of_zero_have_no_direction_and_are_counted() -> None:
    ends = [nn.Sequential(nn.Linear(1, 2), nn.ReLU()).double() for _ in range(2)]
    for end in ends:
        nn.init.ones_(end[0].weight)  # type: ignore[arg-type]
        nn.init.zeros_(end[0].bias)  # type: ignore[arg-type]
    found = feature_connectivity(Line(*ends), evaluator_of(ends[0], torch.tensor([[-1.0], [2.0]]).double()), 3)
    frame = found.frame().filter(layer="1", alpha=0.5)
    assert (frame["undefined"][0], frame["distance"][0]) == (1, pytest.approx(0.0, abs=1e-12))
    off = feature_connectivity(Line(*ends), evaluator_of(ends[0], -torch.ones(3, 1).double()), 3)
    assert off.frame().filter(layer="1")["distance"].null_count() == 3


class Twice(nn.Module):
    """Its layer is called twice, its recurrent part returns a tuple, another is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lstm, self.unused = nn.Linear(4, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(1, 1)
        self.last = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.lstm(self.layer(self.layer(inputs))[:, None])[0]
        logits: Tensor = self.last(outputs[:, 0])
        return logits


def test_layers_without_one_output_are_left_out_or_refused_by_name() -> None:
    ends = [Twice(), Twice()]
    line, evaluator = Line(*ends), evaluator_of(ends[0], drawn(5, 4).float())
    found = feature_connectivity(line, evaluator, 3)
    assert found.layers == ("last",)
    assert found.left_out == {
        "layer": "it is called 2 times",
        "lstm": "it returns a tuple",
        "(top)": "it passes on the output of last",
    }
    for name, reason in (("layer", "called 2 times"), ("lstm", "returns a tuple"), ("unused", "is not called")):
        with pytest.raises(MeasureError, match=reason):
            feature_connectivity(line, evaluator, 3, layers=["last", name])


class Mixing(nn.Module):
    """Its outputs depend on the other examples, or are no row for each."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.part, self.last, self.kind = nn.Identity(), nn.Linear(4, 3), kind
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.kind == "mixed":
            self.part(inputs - inputs.mean(0))
        if self.kind == "turned":
            self.part(inputs.T)
        if self.kind == "whole":
            self.part(inputs.argmax(1))
        logits: Tensor = self.last(inputs)
        return logits


@pytest.mark.parametrize(
    ("kind", "message"), [("mixed", "measured alone"), ("turned", r"\(4, 5\)|for 4"), ("whole", "int64")]
)
def test_outputs_that_are_none_of_an_example_are_refused(kind: str, message: str) -> None:
    ends = [Mixing(kind), Mixing(kind)]
    evaluator = evaluator_of(ends[0], drawn(5, 4).float())
    if kind == "turned":  # as many channels as the few examples that layers are chosen by
        with pytest.raises(MeasureError):
            feature_connectivity(Line(*ends), evaluator, 3, layers=["part"])
        return
    with pytest.raises(MeasureError, match=message):
        feature_connectivity(Line(*ends), evaluator, 3, layers=["part"])


def test_impossible_arguments_say_what_to_do() -> None:
    ends = [mlp(1), mlp(9)]
    line, evaluator = Line(*ends), evaluator_of(ends[0], drawn(5, 4))
    calls: tuple[tuple[type[LinescapeError], Callable[[], object]], ...] = (
        (RecipeError, lambda: feature_connectivity("line", evaluator)),  # type: ignore[arg-type]
        (RecipeError, lambda: feature_connectivity(line, ends[0])),  # type: ignore[arg-type]
        (RecipeError, lambda: feature_connectivity(line, evaluator, batchnorm=["batch"])),  # type: ignore[arg-type]
        (MeasureError, lambda: feature_connectivity(line, evaluator, batchnorm="none")),
        (MeasureError, lambda: feature_connectivity(line, evaluator, layers=["5"])),
        (MeasureError, lambda: feature_connectivity(line, evaluator, layers=[])),
        (MeasureError, lambda: feature_connectivity(line, evaluator, layers=["0", "0"])),
        (DataError, lambda: feature_connectivity(line, evaluator, data="valid")),
        (AlphaError, lambda: feature_connectivity(line, evaluator, (0.5, 0.5))),
        (StateError, lambda: feature_connectivity(Line(nn.Linear(4, 3), nn.Linear(4, 3)), evaluator)),
    )
    for error, call in calls:
        with pytest.raises(error):
            call()
    unequal = Evaluator(
        ends[0],
        {"test": [(drawn(5, 4), torch.zeros(6, dtype=torch.long)[:5], torch.zeros(6))]},
        forward=lambda model, batch: (model(batch[0]), batch[1]),
    )
    with pytest.raises(DataError, match="5, 6"):
        feature_connectivity(line, unequal)


def test_the_networks_stay_as_they_are_and_the_result_is_read_back() -> None:
    ends = [convolutional(seed) for seed in (1, 20)]
    before = [{name: value.clone() for name, value in end.state_dict().items()} for end in ends]
    modes = [[layer.training for layer in end.modules()] for end in ends]
    found = feature_connectivity(Line(*ends), evaluator_of(ends[0], drawn(6, 1, 4, 4)), 3, batchnorm="recalibrate")
    for end, state, mode in zip(ends, before, modes, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in end.state_dict().items())
        assert [layer.training for layer in end.modules()] == mode
        assert not any(layer._forward_hooks for layer in end.modules())
    again = FeatureConnectivity.from_bytes(found.to_bytes())
    assert again.frame().equals(found.frame())
    assert (again.layers, again.left_out) == (found.layers, found.left_out)
    assert repr(again) == "<FeatureConnectivity of 5 layers at 3 positions: 6 examples>"
    damaged = bytearray(found.to_bytes())
    damaged[-1] ^= 1
    with pytest.raises(ValueError, match="bytes"):
        FeatureConnectivity.from_bytes(bytes(damaged))
