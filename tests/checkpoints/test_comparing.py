"""Two networks in any form, and data in any form, give one and the same line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from linescape import checkpoints
from linescape.checkpoints.comparing import compare
from linescape.data import load
from linescape.errors import CheckpointError, DataError, EndsError, MeasureError, RecipeError, StateError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.groups import by_block
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions

OPTIONS = ScanOptions(alphas=5)
X = torch.randn(70, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(70) % 3


def network(seed: int, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), activation(), nn.Linear(8, 3)).eval()


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(X, Y, strict=True))


def expected() -> list[float]:
    """Losses in float64, by hand."""
    first, last = (network(seed).double() for seed in (1, 2))
    between = network(3).double()
    losses = []
    for alpha in np.linspace(0, 1, 5):
        with torch.no_grad():
            for each, one, other in zip(between.parameters(), first.parameters(), last.parameters(), strict=True):
                each.copy_((1 - alpha) * one + alpha * other)
            losses.append(float(F.cross_entropy(between(X.double()), Y)))
    return losses


def check(a: Any, b: Any, data: Any = (X, Y), **settings: Any) -> None:
    curve = compare(a, b, data, options=OPTIONS, **settings).curves["whole"]
    np.testing.assert_allclose(curve["test", "cross_entropy"].mean, expected(), atol=1e-6)
    assert set(curve.values) == {("test", "cross_entropy", "interpolate"), ("test", "error", "interpolate")}


def saved(model: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        checkpoints.write(path, model.state_dict())
    else:
        torch.save({"model": model.state_dict(), "epoch": 3}, path)
    return path


FORMS: dict[str, Callable[[nn.Module, Path], Any]] = {
    "module": lambda model, folder: model,
    "wrapped": lambda model, folder: nn.DataParallel(model),
    "state dict": lambda model, folder: model.state_dict(),
    "State": lambda model, folder: State.from_module(model),
    "torch file": lambda model, folder: saved(model, folder / "file.pt"),
    "path as text": lambda model, folder: str(saved(model, folder / "other.safetensors")),
}


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("last", FORMS)
def test_every_form_of_two_networks(tmp_path: Path, first: str, last: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ends = FORMS[first](network(1), tmp_path / "a"), FORMS[last](network(2), tmp_path / "b")
    needed = not {first, last} & {"module", "wrapped"}
    if needed:
        with pytest.raises(StateError, match=r"Neither of the two is a module.*model="):
            compare(*ends, (X, Y))
    check(*ends, model=network(7) if needed else None)


@pytest.mark.parametrize(
    "data",
    [
        {"test": (X, Y)},
        TensorDataset(X, Y),
        Subset(TensorDataset(X, Y), range(70)),
        DataLoader(TensorDataset(X, Y), 16),
        DataLoader(Stream(), 16),
        {"test": DataLoader(Stream(), 16)},
        [(X[:40], Y[:40]), (X[40:], Y[40:])],
        (X.numpy(), Y.numpy()),
    ],
    ids=["named", "tensors", "subset", "loader", "stream", "named stream", "list", "arrays"],
)
def test_every_form_of_data(data: Any) -> None:
    check(network(1), network(2), data)


def test_an_evaluator_brings_its_network_measures_and_data() -> None:
    evaluator = Evaluator(network(7), {"test": (X, Y)}, ["error"])
    probe = compare(network(1).state_dict(), network(2).state_dict(), evaluator, options=OPTIONS)
    assert list(probe.curves["whole"].values) == [("test", "error", "interpolate")]
    with pytest.raises(MeasureError, match="own measures"):
        compare(network(1), network(2), evaluator, measures=["error"])


def test_blocks_and_groups_of_ones_own() -> None:
    a, b = network(1), network(2)
    assert list(compare(a, b, (X, Y), layers=True, options=OPTIONS).curves) == ["whole", *by_block(a)]
    with pytest.raises(RecipeError, match="The value of layers is a str. Give True for each block"):
        compare(a, b, (X, Y), layers="blocks")  # type: ignore[arg-type]
    probe = compare(a, b, (X, Y), layers={"biases": ("0.bias", "2.bias")}, options=OPTIONS)
    assert list(probe.curves) == ["whole", "biases"]
    assert probe.distances["biases"].count == 11


def test_networks_and_data_are_as_before() -> None:
    a, b = network(1).train(), network(2)
    before = [value.clone() for value in (*a.parameters(), *b.parameters(), X, Y)]
    drawn = torch.get_rng_state()
    compare(a, b, DataLoader(TensorDataset(X, Y), 16), options=OPTIONS)
    assert all(map(torch.equal, before, (*a.parameters(), *b.parameters(), X, Y)))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert a.training
    assert not b.training


class Scaled(nn.Linear):
    """Whose code depends on a number that no state dict holds."""

    def __init__(self, factor: float) -> None:
        super().__init__(6, 3)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (network(1), network(2, nn.ReLU)),
        (network(1, nn.GELU), network(2)),
        (Scaled(1.0), Scaled(1.5)),
        (Scaled(2.0), nn.Linear(6, 3)),
    ],
)
def test_modules_that_compute_different_things_with_the_same_weights_are_refused(a: nn.Module, b: nn.Module) -> None:
    for measures in (None, ["error"]):
        with pytest.raises(EndsError, match="they compute different things"):
            compare(a, b, (X, Y), measures=measures, options=OPTIONS)


class Named(nn.Linear):
    """Whose outputs are no tensor."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x) * getattr(self, "factor", 1.0)}


def test_outputs_that_are_no_tensors_are_compared_by_what_is_measured() -> None:
    measures = {"loss": lambda outputs, targets: F.cross_entropy(outputs["logits"], targets, reduction="none")}
    torch.manual_seed(0)
    a, b = Named(6, 3), Named(6, 3)
    assert compare(a, b, (X, Y), measures=measures, options=OPTIONS).curves
    vars(b)["factor"] = 2.0
    with pytest.raises(EndsError, match="give different loss"):
        compare(a, b, (X, Y), measures=measures, options=OPTIONS)


def test_notes_on_reading_are_in_the_result(tmp_path: Path) -> None:
    probe = compare(saved(network(1), tmp_path / "a.pt"), network(2), (X, Y), options=OPTIONS)
    assert any("epoch" in note for note in probe.notes)


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    a, b = network(1), network(2)
    with pytest.raises(CheckpointError, match="could not be opened"):
        compare(tmp_path / "none.pt", b, (X, Y))
    with pytest.raises(CheckpointError, match="is no checkpoint of this Sequential"):
        compare(saved(nn.Linear(6, 3), tmp_path / "other.pt"), b, (X, Y))
    with pytest.raises(StateError, match="the same tensors in memory"):
        compare(a, a, (X, Y))
    with pytest.raises(StateError, match="The start is a int, not a network"):
        compare(3, b, (X, Y))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="shuffle=True"):
        compare(a, b, DataLoader(TensorDataset(X, Y), 16, shuffle=True))
    with pytest.raises(DataError, match="are a str"):
        compare(a, b, "images")
    with pytest.raises(MeasureError, match="no measure 'eror'.*'error'"):
        compare(a, b, (X, Y), measures=["eror"])


def test_a_data_set_of_linescape_is_measured_as_it_is() -> None:
    data = load("fashion-mini")
    torch.manual_seed(0)
    a, b = (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)) for _ in range(2))
    curve = compare(a, b, data, options=ScanOptions(alphas=3)).curves["whole"]
    inputs = (data.test.inputs.double() / 255 - data.mean[0]) / data.std[0]
    loss = float(F.cross_entropy(a.double()(inputs).detach(), data.test.targets))
    assert curve["test", "cross_entropy"].mean[0] == pytest.approx(loss, rel=1e-5)
    assert {name for name, *_ in curve.values} == {"train", "test"}


def test_a_model_that_is_none_is_not_passed_over() -> None:
    with pytest.raises(StateError, match="is a str, not a torch.nn.Module"):
        compare(network(1), network(2), (X, Y), model="net")  # type: ignore[arg-type]


def test_equal_networks_are_noted() -> None:
    probe = compare(network(1), network(1), (X, Y), options=OPTIONS)
    assert "The two networks are equal, so nothing changes along the line." in probe.notes


def test_outputs_that_are_not_finite_are_equal_to_themselves() -> None:
    class Logged(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).log()  # NaN for about half

    torch.manual_seed(0)
    curve = compare(Logged(6, 3), Logged(6, 3), (X, Y), options=OPTIONS).curves["whole"]
    assert curve["cross_entropy"].not_finite.any()
