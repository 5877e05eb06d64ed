"""Features between two networks as tasks: the same as from Python, and a damaged result is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from linescape import data, models
from linescape.errors import DamagedError, MeasureError
from linescape.geometry.paths import Line
from linescape.interpolation.alignment.aligning import align
from linescape.interpolation.features import feature_connectivity
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule
from linescape.studies.costs import cost_of
from linescape.studies.job import measuring
from linescape.studies.measurements import Features
from linescape.studies.paths import Aligned, Straight
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Train, describe

RECIPE = Recipe(Data("spiral"), MLP((4,), norm="batch"), schedule=Schedule(1))
OTHER = replace(RECIPE, seed=1)
TASK = Features(
    Moment(RECIPE),
    Moment(OTHER),
    ("layers.0", "norms.0", "layers.1"),
    3,
    "recalibrate",
    train_examples=40,
    test_examples=20,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("features"))
    assert work([TASK, replace(TASK, along=Aligned())], store, progress=False, workers=1).done == 4
    return store


@pytest.mark.parametrize("along", [Straight(), Aligned()])
def test_a_task_measures_what_python_does_on_the_test_half(along: Straight | Aligned, store: Store) -> None:
    dataset = data.load(RECIPE.data, OTHER.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    evaluator = measuring(network, dataset, "cpu", 40, 20)
    start, end = (store.state(Moment(recipe)) for recipe in (RECIPE, OTHER))
    end = align(start, end, evaluator, "weights").state if along == Aligned() else end
    expected = feature_connectivity(
        Line(start, end), evaluator, 3, layers=TASK.layers, data="test", batchnorm="recalibrate"
    )
    found = store.measured(replace(TASK, along=along))
    assert found.layers == TASK.layers
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.coefficients, expected.coefficients)
    np.testing.assert_array_equal(found.ends, expected.ends)
    assert found.provenance["batchnorm"] == "recalibrate"
    assert found.distances.shape == (3, 3, 20)


def test_it_is_planned_and_named(store: Store) -> None:
    assert describe(TASK) == "compare features of MLP on spiral, seed 1"
    assert TASK.needs() == (Train(RECIPE), Train(OTHER))
    assert plan([TASK], store).missing == 0
    (examples,) = (workload.examples * number for workload, number in cost_of(TASK, "cpu").calls.items())
    assert examples == pytest.approx(3 * (3 * 20 + 40) + 2 * 40), "three copies, and statistics of the ends once more"
    assert cost_of(TASK, "cpu").bytes == (2 * 3 + 1) * 20 * 3 * 4
    with pytest.raises(MeasureError):
        replace(TASK, batchnorm="none")


def test_its_key_is_what_it_was() -> None:
    assert TASK.key == "8966d1949f09bcf8"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    work([TASK], store, progress=False, workers=1)
    file = store.folder(TASK) / "features.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        store.measured(TASK)
