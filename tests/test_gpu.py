"""What must hold on a GPU too: each test runs on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from linescape import data, models
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import cross_entropy
from linescape.geometry.paths import Line, Only
from linescape.geometry.state import State
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.scanning import _own_precision, scan
from linescape.recipe import Data, Optimizer, Poison, Random, Recipe, ResNet, Schedule
from linescape.studies.doing import do
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Train, in_order
from linescape.training.loop import _batches, memory_layout, train
from tests.support.networks import lived_in

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
RECIPE = Recipe(
    data=Data("fashion-mini", size=14, fraction=0.05, augment="crop-flip"),
    model=ResNet(8, 4),
    optimizer=Optimizer(lr=0.05, weight_decay=5e-4, batch_size=50),
    schedule=Schedule(2, kind="step", drops=(1,)),
)


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Convolutions in float32 as on the CPU, not in TF32, so that what is left is a mistake."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


def network() -> tuple[nn.Module, State, State, Tensor, Tensor]:
    held = data.load(Data("fashion-mini", size=14))
    inputs, targets = held.normalise(held.test.inputs[:70]), held.test.targets[:70]
    module = models.draw(ResNet(8, 4), (1, 14, 14), 10, Random(), 0)
    return module, lived_in(module, inputs, 1), lived_in(module, inputs, 2), inputs, targets


def textbook(module: nn.Module, start: State, end: State, alpha: float, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """Each example's loss by the formula, all of it in float64 on the CPU."""
    double = models.draw(ResNet(8, 4), (1, 14, 14), 10, Random(), 0).double().eval()
    mixed = {
        name: (1 - alpha) * start[name].double() + alpha * value.double() if value.is_floating_point() else value
        for name, value in end.items()
    }
    double.load_state_dict(mixed)
    with torch.no_grad():
        return cross_entropy(double(inputs.double()), targets).numpy()


@pytest.mark.parametrize("fast", [True, False], ids=["as a graph", "by plain calls"])
@pytest.mark.parametrize("device", DEVICES)
def test_each_example_of_a_line_is_that_of_float64(device: str, fast: bool) -> None:
    module, start, end, inputs, targets = network()
    measured = Evaluator(module.to(device), {"test": (inputs, targets)}, measures=(cross_entropy,), fast=fast)
    line = Line(start.to(device), end.to(device))
    block = tuple(name for name in end if name.startswith("layer2"))
    for path in (line, Only(line, block)):
        curve = scan(path, measured, ScanOptions(alphas=5, progress=False))
        for alpha, values in zip(curve.alphas.tolist(), curve["test", "cross_entropy"].values, strict=True):
            base = start if path is line else end.replace({name: start[name] for name in block})
            assert np.allclose(values, textbook(module, base, end, alpha, inputs, targets), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fast", [True, False], ids=["as a graph", "by plain calls"])
@pytest.mark.parametrize("device", DEVICES)
def test_data_on_the_cpu_give_what_data_on_the_device_give(device: str, fast: bool) -> None:
    module, start, end, inputs, targets = network()
    module, path = module.to(device), Line(start.to(device), end.to(device))
    found = []
    for at in ("cpu", device):
        x, y = inputs.to(at), targets.to(at)
        kinds: list[Any] = [[(x[:40], y[:40]), (x[40:], y[40:])], DataLoader(TensorDataset(x, y), 40)]
        for given in kinds:
            measured = Evaluator(module, {"test": given}, measures=(cross_entropy,), fast=fast)
            curve = scan(path, measured, ScanOptions(alphas=9, progress=False))
            found.append(curve["test", "cross_entropy"].values)
    assert all(np.allclose(values, found[0], rtol=1e-5, atol=1e-6) for values in found[1:])


@pytest.mark.parametrize("treatment", ["interpolate", "recalibrate", "start", "end", "batch"])
@pytest.mark.parametrize("device", DEVICES)
def test_treatments_of_batchnorm_are_those_of_the_cpu(device: str, treatment: str) -> None:
    found = list[np.ndarray]()
    for at in ("cpu", device):
        module, start, end, inputs, targets = network()
        given = {"train": (inputs[:40], targets[:40]), "test": (inputs[40:], targets[40:])}
        measured = Evaluator(module.to(at), given, measures=(cross_entropy,))
        curve = scan(
            Line(start.to(at), end.to(at)), measured, ScanOptions(alphas=3, batchnorm=treatment, progress=False)
        )
        found.append(curve["test", "cross_entropy", treatment].values)
    assert np.allclose(found[1], found[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec", [RECIPE.data, Data("fashion-mini", size=14, fraction=0.05, poison=Poison())])
@pytest.mark.parametrize("device", DEVICES)
def test_batches_are_those_of_the_cpu(device: str, spec: Data) -> None:
    recipe = Recipe(spec, RECIPE.model, RECIPE.optimizer, RECIPE.schedule)
    dataset = data.load(spec, 0)
    layout = memory_layout(dataset)
    on_cpu = _batches(recipe, dataset, "cpu", layout, range(12))
    for here, there in zip(on_cpu, _batches(recipe, dataset, device, layout, range(12)), strict=True):
        assert torch.allclose(here.inputs, there.inputs.cpu(), atol=1e-6)
        assert torch.equal(here.targets, there.targets.cpu())


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_goes_on_from_its_checkpoint(device: str) -> None:
    dataset = data.load(RECIPE.data, 0)
    start = State.from_module(models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), 0))
    whole, halves = train(RECIPE, dataset, start, device), train(RECIPE, dataset, start, device)
    for progress in whole:
        end = progress.checkpoint().state if progress.step == progress.steps else start
    middle = next(progress.checkpoint() for progress in halves if progress.step == 7)
    for progress in train(RECIPE, dataset, middle, device):
        again = progress.checkpoint().state if progress.step == progress.steps else start
    for name, value in end.items():
        assert torch.allclose(value.float(), again[name].float(), rtol=0.05, atol=0.01), name


@pytest.mark.parametrize("device", DEVICES)
def test_a_line_ends_at_what_its_trainings_log_says(device: str, tmp_path: Path) -> None:
    store, line = Store(tmp_path), Scan(Moment(RECIPE, "start"), Moment(RECIPE), "layer2", alphas=3)
    for task in in_order([line]):
        do(task, store, device)
    log, curve = store.log(RECIPE), store.curve(line)
    assert curve["test", "cross_entropy"].mean[-1] == pytest.approx(log["test_loss"][-1], rel=1e-4)
    assert log["test_loss"][-1] < 2.3
    assert store.record(Train(RECIPE))["device"] == ("cpu" if device == "cpu" else torch.cuda.get_device_name())


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_a_curve_says_where_float32_is_tf32(device: str, allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    module, start, end, inputs, targets = network()
    measured = Evaluator(module.to(device), {"test": (inputs, targets)}, measures=(cross_entropy,))
    curve = scan(Line(start.to(device), end.to(device)), measured, ScanOptions(alphas=2, progress=False))
    has_it = device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
    expected = "float32, convolutions in TF32" if allowed and has_it else "float32"
    assert curve.provenance["precision"] == expected


def test_tf32_is_named_by_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    of_a_gpu: Any = SimpleNamespace(dtype=torch.float32, device=torch.device("cuda"))
    assert _own_precision(of_a_gpu) == "float32"
    torch.backends.cudnn.allow_tf32 = True
    assert _own_precision(of_a_gpu) == "float32, convolutions in TF32"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert _own_precision(of_a_gpu) == "float32, convolutions and matrix products in TF32"

    def mixed() -> str:
        raise RuntimeError("mixed use of the legacy and the new settings")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    assert _own_precision(of_a_gpu) == "float32, in TF32 where the caller set it"
    of_a_gpu.dtype = torch.bfloat16
    assert _own_precision(of_a_gpu) == "bfloat16"
