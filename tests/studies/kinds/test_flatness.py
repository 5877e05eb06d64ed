"""Flatness as tasks: the same as from Python; refused where damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linescape import data, models
from linescape.errors import DamagedError, MeasureError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Line
from linescape.interpolation.flat import ADAPTIVE_RADIUS, RADIUS, Flatness
from linescape.interpolation.hessian import curvature
from linescape.interpolation.sam import sharpness
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule, derive_seed
from linescape.studies.measurements import Flat, Turning
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Train, describe

RECIPE = Recipe(Data("spiral"), MLP((4,), "tanh"), schedule=Schedule(1))
TASK = Flat(Moment(RECIPE, "start"), Moment(RECIPE), alphas=3, train_examples=20, vectors=3)


def test_a_task_measures_what_python_does_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert work([TASK], store, progress=False, workers=1).done == 2
    dataset = data.load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    line = Line(store.state(Moment(RECIPE, "start")), store.state(Moment(RECIPE)))
    half = dataset.train.take(20)
    evaluator = Evaluator(network, {"train": (dataset.normalise(half.inputs), half.targets)})
    found = store.measured(TASK)
    assert isinstance(found, Flatness)
    expected = curvature(line, evaluator, 3, vectors=3, seed=derive_seed(TASK, "vectors") % 2**32)
    for name in ("alphas", "loss", "gradient", "eigenvalues", "residuals", "trace", "trace_half_width"):
        np.testing.assert_allclose(getattr(found.curvature, name), getattr(expected, name), rtol=1e-5, atol=1e-7)
    plain = sharpness(line, evaluator, 3, radius=RADIUS)
    adaptive = sharpness(line, evaluator, 3, radius=ADAPTIVE_RADIUS, adaptive=True)
    np.testing.assert_allclose(found.rise, plain.rise, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.adaptive_rise, adaptive.rise, rtol=1e-4, atol=1e-7)
    assert found.curvature.provenance["parameters"] == sum(of.numel() for of in network.parameters())
    assert plan([TASK], store).missing == 0
    file = store.folder(TASK) / "flatness.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        store.measured(TASK)


def test_it_is_named_and_needs_its_ends() -> None:
    assert TASK.needs() == (Train(RECIPE),)
    assert describe(TASK) == "measure the curvature along the line of MLP on spiral, seed 0"
    with pytest.raises(RecipeError, match="vectors"):
        Flat(TASK.start, TASK.end, vectors=1)
    with pytest.raises(RecipeError, match="examples"):
        Flat(TASK.start, TASK.end, train_examples=-1)
    with pytest.raises(MeasureError, match="none"):
        Flat(TASK.start, TASK.end, batchnorm="none")


def test_another_measurement_is_no_flatness(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = Turning(TASK.start, TASK.end, alphas=3, train_examples=2, shown=0)
    assert work([other], store, progress=False, workers=1).done == 2
    with pytest.raises((LookupError, ValueError)):
        Flatness.from_bytes(store.measured(other).to_bytes())
