from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from msgspec.structs import replace

import linescape as ls
from linescape import data, models
from linescape.geometry.groups import by_block
from linescape.geometry.state import State
from linescape.recipe import LSTM, Data, Optimizer, Random, Recipe, Schedule
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Train
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint, train
from tests.support.own_study import as_file

Array = npt.NDArray[np.float64]


def by_hand(state: State, series: Array, layers: int) -> Array:
    """Logits of series ``(batch, steps, features)``, from the equations of the cells, in float64."""
    values = {name: value.double().numpy() for name, value in state.items()}

    def sigmoid(x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    for layer in range(layers):
        w, u, b, c = (values[f"layers.{layer}.{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        hidden = cell = np.zeros((len(series), u.shape[1]))
        outputs = []
        for step in range(series.shape[1]):
            i, f, g, o = np.split(series[:, step] @ w.T + b + hidden @ u.T + c, 4, axis=1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            outputs.append(hidden)
        series = np.stack(outputs, 1)
    logits: Array = series[:, -1] @ values["fc.weight"].T + values["fc.bias"]
    return logits


def as_series(inputs: torch.Tensor) -> Array:
    """Rows of images, columns of series, or single numbers."""
    x = inputs.double().numpy()
    if x.ndim == 4:
        return np.stack([np.concatenate(list(image), axis=1) for image in x])  # the channels' rows side by side
    return x[:, :, None] if x.ndim == 2 else np.stack([series.T for series in x])


SHAPES = [(3, 5, 4), (1, 6, 6), (3, 7), (7,)]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_its_outputs_are_those_of_its_equations(shape: tuple[int, ...], layers: int) -> None:
    network = models.draw(LSTM(6, layers), shape, 3, Random(), 0)
    inputs = torch.randn(9, *shape, generator=torch.Generator().manual_seed(1))
    expected = by_hand(State.from_module(network), as_series(inputs), layers)
    assert np.abs(network.double()(inputs.double()).detach().numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_lines_are_those_of_a_loop_in_float64(shape: tuple[int, ...]) -> None:
    start, end = (models.draw(LSTM(8, 2), shape, 3, Random(scale=2.0), seed) for seed in (0, 1))
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(300, *shape, generator=generator), torch.randint(0, 3, (300,), generator=generator)
    line = ls.Line(start, end)
    groups = by_block(end)
    assert list(groups) == ["layer1", "layer2", "fc"]
    evaluator = ls.Evaluator(end, {"test": (inputs, targets)})
    for path in (line, *(ls.Only(line, names) for names in groups.values())):
        curve = ls.scan(path, evaluator, ls.ScanOptions(alphas=5))["test", "cross_entropy"]
        for alpha, mean in zip(curve.alphas, curve.mean, strict=True):
            logits = torch.from_numpy(by_hand(path.at(float(alpha)), as_series(inputs), 2))
            assert mean == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets)), rel=1e-5)


RECIPE = Recipe(
    Data("fashion-mini", size=14, fraction=0.02, augment="crop-flip"),
    LSTM(16, 2),
    Optimizer(lr=0.1, batch_size=32),
    Schedule(3),
)


def test_its_training_repeats_and_resumes_to_the_bit() -> None:
    dataset = data.load(RECIPE.data)
    start = Checkpoint(State.from_module(draw(RECIPE, dataset.shape, dataset.classes)))
    checkpoints = {progress.step: progress.checkpoint() for progress in train(RECIPE, dataset, start)}
    ends = [list(train(RECIPE, dataset, checkpoints[step]))[-1].checkpoint().state for step in (0, 1, 10)]
    last = checkpoints[max(checkpoints)].state
    assert all(torch.equal(end[name], last[name]) for end in ends for name in last)
    assert not torch.equal(last["layers.0.weight_hh_l0"], start.state["layers.0.weight_hh_l0"])


WAVES = """
import torch

def waves():
    labels = torch.arange(60) % 2
    angles = 2 * torch.pi * ((1 + 2 * labels[:, None]) * torch.arange(16) / 16 + torch.rand(60, 1))
    return {"train": (angles.sin(), labels), "test": (angles.cos(), labels)}
"""


def test_series_of_ones_own_are_trained_on_and_walked(tmp_path: Path) -> None:
    with as_file(tmp_path, WAVES, "my_waves.py") as file:
        spec = Data.of(f"{file}:waves")
    recipe = replace(RECIPE, data=spec, optimizer=Optimizer("adam", lr=0.02, batch_size=20))
    store = Store(tmp_path / "runs")
    outcome = work([Train(recipe)], store, progress=False)
    assert (outcome.done, outcome.failed) == (1, {})
    end = store.state(Moment(recipe))
    inputs, targets = data.load(recipe.data).tensors()["test"]
    logits = torch.from_numpy(by_hand(end, as_series(inputs), 2))
    loss = float(torch.nn.functional.cross_entropy(logits, targets))
    assert store.log(recipe)["test_loss"][-1] == pytest.approx(loss, rel=1e-5)
