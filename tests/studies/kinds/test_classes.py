"""Errors by class as tasks: those of plain calls of the network; declined where the last layer has no biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import data, models
from linescape.errors import DamagedError, RecipeError
from linescape.geometry.paths import Line
from linescape.interpolation.by_class import ClassErrors
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule
from linescape.studies.measurements import Classes
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Scan, Train, describe

RECIPE = Recipe(Data("spiral"), MLP((4,), "tanh"), schedule=Schedule(1))
LINE = Scan(Moment(RECIPE, "start"), Moment(RECIPE), alphas=3, train_examples=20, test_examples=5)


def test_a_task_gives_what_plain_calls_do_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store, task = Store(tmp_path), Classes.of(LINE)
    assert work([task], store, progress=False, workers=1).done == 3
    dataset = data.load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    line = Line(store.state(Moment(RECIPE, "start")), store.state(Moment(RECIPE)))
    half = dataset.train.take(20)
    found = store.measured(task)
    assert isinstance(found, ClassErrors)
    for row, alpha in enumerate((0.0, 0.5, 1.0)):
        line.at(alpha).load_into(network)
        with torch.no_grad():
            wrong = network.eval()(dataset.normalise(half.inputs)).argmax(1) != half.targets
        expected = [100 * float(wrong[half.targets == of].double().mean()) for of in range(dataset.classes)]
        np.testing.assert_allclose(found.errors[row], expected)
    np.testing.assert_array_equal(found.biases, network.layers[-1].bias.detach().numpy())  # type: ignore[union-attr,index]
    assert plan([task], store).missing == 0
    file = store.folder(task) / "classes.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        store.measured(task)


def test_it_is_named_and_needs_its_line() -> None:
    task = Classes.of(LINE)
    assert task.needs() == (Train(RECIPE), LINE)
    assert describe(task) == "part the errors by class of MLP on spiral, seed 0"
    with pytest.raises(RecipeError, match=r"Classes\.of"):
        Classes(LINE.end, LINE.end, LINE)


def test_without_last_biases_it_is_declined(tmp_path: Path) -> None:
    bare = replace(RECIPE, model=replace(RECIPE.model, bias="hidden"))
    task = Classes.of(replace(LINE, start=Moment(bare, "start"), end=Moment(bare)))
    outcome = work([task], Store(tmp_path), progress=False, workers=1)
    assert list(outcome.declined) == [task]
    assert "bias for each class" in outcome.declined[task]
