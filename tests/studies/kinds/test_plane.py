"""Planes as tasks: the same as from Python, cut over workers or not; refused where damaged or impossible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from linescape import models
from linescape.data import load
from linescape.errors import DamagedError, RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.planes import Plane
from linescape.interpolation.options import ScanOptions
from linescape.interpolation.surface import scan_plane
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule
from linescape.studies.measurements import PlaneScan
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Keep, Train, describe

RECIPE = Recipe(Data("spiral"), MLP((4,), "tanh"), schedule=Schedule(2))
OTHER = Moment(replace(RECIPE, seed=1))
TASK = PlaneScan(
    Moment(RECIPE, "start"), Moment(RECIPE), others=(OTHER,), points=4, train_examples=20, test_examples=20
)


def test_a_task_measures_what_python_does_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert work([TASK], store, progress=False, workers=1).done == 3
    dataset = load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    states = [store.state(moment) for moment in (TASK.start, TASK.end, OTHER)]
    taken = dataset.test.take(20)
    evaluator = Evaluator(network, {"test": (dataset.normalise(taken.inputs), taken.targets)}, ["cross_entropy"])
    expected = scan_plane(Plane(*states), evaluator, ScanOptions(alphas=4, progress=False))
    found = store.measured(TASK)
    assert list(found.marks) == ["start", "end", "other"]
    np.testing.assert_allclose(found["test", "cross_entropy"], expected["test", "cross_entropy"], rtol=1e-4)
    assert plan([TASK], store).missing == 0
    file = store.folder(TASK) / "surface.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        store.measured(TASK)


def test_the_way_of_a_training_lies_beside_its_plane(tmp_path: Path) -> None:
    store = Store(tmp_path)
    states = tuple(Moment(RECIPE, "epoch", number) for number in (1,))
    task = replace(TASK, span="principal", others=states)
    assert task.needs() == (Keep(states[0]), Train(RECIPE))
    work([task], store, progress=False, workers=1)
    found = store.measured(task)
    assert list(found.marks) == ["end"]
    assert list(found.provenance["states"]) == ["0", "1", "end"]
    around = PlaneScan(TASK.end, TASK.end, "random", points=4, train_examples=20, test_examples=20)
    work([around], store, progress=False, workers=1)
    assert store.measured(around).provenance["normalise"] == "filter"


def test_it_is_named_and_refuses_what_spans_no_plane() -> None:
    assert describe(TASK) == "measure a plane of MLP on spiral, seed 0"
    wrong: list[dict[str, Any]] = [{"others": ()}, {"span": "random"}, {"span": "principal", "others": ()}]
    for change in wrong:
        with pytest.raises(RecipeError, match="others"):
            replace(TASK, **change)
    with pytest.raises(RecipeError, match="no ends"):
        replace(TASK, batchnorm="end")
    with pytest.raises(RecipeError, match="points"):
        replace(TASK, points=1)
