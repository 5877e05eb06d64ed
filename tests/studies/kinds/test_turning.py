"""How logits turn as tasks: the same as from Python; refused where damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linescape import data, models
from linescape.errors import DamagedError, RecipeError
from linescape.geometry.paths import Line
from linescape.interpolation.turning import gauss_length, logit_positions
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule
from linescape.studies.measurements import Turning
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Train, describe

RECIPE = Recipe(Data("spiral"), MLP((4,), "tanh"), schedule=Schedule(1))
TASK = Turning(Moment(RECIPE, "start"), Moment(RECIPE), alphas=5, train_examples=20, shown=3)


def test_a_task_measures_what_python_does_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert work([TASK], store, progress=False, workers=1).done == 2
    dataset = data.load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    line = Line(store.state(Moment(RECIPE, "start")), store.state(Moment(RECIPE)))
    inputs = dataset.normalise(dataset.train.take(20).inputs)
    expected, found = gauss_length(line, network, inputs, 5), store.measured(TASK)
    for name in ("alphas", "elements", "still", "speeds", "turns"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(store.logits(TASK), logit_positions(line, network, inputs[:3], 5))
    assert plan([TASK], store).missing == 0
    for name, read in (("turning", store.measured), ("logits", store.logits)):
        file = store.folder(TASK) / f"{name}.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        with pytest.raises(DamagedError):
            read(TASK)


def test_it_is_named_and_needs_its_ends() -> None:
    assert TASK.needs() == (Train(RECIPE),)
    assert describe(TASK) == "follow the logits of MLP on spiral, seed 0"
    with pytest.raises(RecipeError, match="examples"):
        Turning(TASK.start, TASK.end, train_examples=-1)
