"""Modules with noise as tasks: the same as from Python, from where they were stopped, refused if impossible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linescape import data, models
from linescape.errors import AlphaError, DamagedError
from linescape.geometry.groups import by_block
from linescape.geometry.paths import Line
from linescape.interpolation import scanning
from linescape.interpolation.critical import criticality
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule, derive_seed
from linescape.studies.job import measuring
from linescape.studies.kinds import line
from linescape.studies.measurements import Noise
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Train, describe

RECIPE = Recipe(Data("spiral"), MLP((4,)), schedule=Schedule(1))


def noise(**settings: object) -> Noise:
    given = {"alphas": 3, "sigmas": (0.1, 1.0), "draws": 2, "train_examples": 20, **settings}
    return Noise(Moment(RECIPE, "start"), Moment(RECIPE), "fc", **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("noise"))
    assert work([noise()], store, progress=False, workers=1).done == 2
    return store


def test_a_task_measures_what_python_does_on_the_training_half(store: Store) -> None:
    dataset = data.load(RECIPE.data, RECIPE.seed)
    network = models.draw(RECIPE.model, dataset.shape, dataset.classes, Random(), seed=0)
    evaluator = measuring(network, dataset, "cpu", 20, None)
    ends = Line(store.state(Moment(RECIPE, "start")), store.state(Moment(RECIPE)))
    module = by_block(network)["fc"]
    expected = criticality(ends, module, evaluator, 3, (0.1, 1.0), 2, derive_seed(noise(), "noise"), progress=False)
    found = store.measured(noise())
    assert set(found.means) == {("train", "cross_entropy"), ("train", "error")}
    for key, means in found.means.items():
        np.testing.assert_array_equal(means, expected.means[key])
        np.testing.assert_array_equal(found.without[key], expected.without[key])
    assert found.distance == expected.distance
    assert found.provenance["examples"] == {"train": 20}


def test_a_task_that_was_stopped_goes_on_and_gives_the_same(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    work([Train(RECIPE)], other, progress=False, workers=1)
    measured: list[float] = []
    walk = scanning.walk

    def stopped(*given: object, **settings: object) -> object:
        for point in walk(*given, **settings):  # type: ignore[arg-type]
            if len(measured) == 5:
                raise KeyboardInterrupt
            measured.append(point.alpha)
            yield point

    patch = pytest.MonkeyPatch()
    patch.setattr(line, "walk", stopped)
    with pytest.raises(KeyboardInterrupt):
        work([noise()], other, progress=False, workers=1)
    patch.undo()
    assert len(measured) == 5
    work([noise()], other, progress=False, workers=1)
    assert other.read(noise(), "criticality.safetensors")
    for key, means in other.measured(noise()).means.items():
        np.testing.assert_array_equal(means, store.measured(noise()).means[key])


def test_it_is_planned_and_named(store: Store, tmp_path: Path) -> None:
    task = noise()
    assert task.pieces == len(store.measured(task).frame()) // 2 // 3 * 5  # networks of 3 alphas: 1 + 2 sigmas x 2
    assert describe(task) == "add noise to fc of MLP on spiral, seed 0"
    assert task.needs() == (Train(RECIPE),)
    assert plan([task], store).missing == 0


def test_its_key_is_what_it_was() -> None:
    assert noise().key == "b352eb1dca3c4954"


def test_a_damaged_file_and_impossible_grids_are_refused(tmp_path: Path) -> None:
    for impossible in ({"sigmas": (0.0, 1.0)}, {"draws": 1}, {"alphas": 1}, {"sigmas": ()}):
        with pytest.raises(AlphaError):
            noise(**impossible)
    store = Store(tmp_path)
    work([noise()], store, progress=False, workers=1)
    file = store.folder(noise()) / "criticality.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        store.measured(noise())
