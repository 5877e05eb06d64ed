"""The greedy order as tasks: that of brute force by plain calls; refused where damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from linescape import data, models
from linescape.errors import DamagedError, RecipeError
from linescape.interpolation.greedy import GreedyOrder
from linescape.recipe import MLP, Data, Moment, Random, Recipe, Schedule
from linescape.studies.measurements import Greedy
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.tasks import Scan, Train, describe

FIRST, SECOND = (Recipe(Data("spiral"), MLP((6, 6), "tanh"), schedule=Schedule(3), seed=seed) for seed in (0, 1))
LAYERS = ("layer1", "layer2", "fc")
TASK = Greedy(Moment(SECOND), Moment(FIRST), LAYERS, train_examples=20, test_examples=30)
ALL = Scan(Moment(SECOND), Moment(FIRST), alphas=3, train_examples=20, test_examples=30)


def test_a_task_finds_what_brute_force_does_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert work([TASK, ALL], store, progress=False, workers=1).done == 4
    found = store.measured(TASK)
    assert isinstance(found, GreedyOrder)
    dataset = data.load(FIRST.data, FIRST.seed)
    network = models.draw(FIRST.model, dataset.shape, dataset.classes, Random(), seed=0)
    halves = {"train": dataset.train.take(20), "test": dataset.test.take(30)}
    a, b = (store.state(Moment(recipe)) for recipe in (FIRST, SECOND))

    def loss(names: tuple[str, ...], half: str) -> float:
        tensors = [f"layers.{LAYERS.index(name)}." for name in names]
        mixed = {name: (a[name] + b[name]) / 2 if name.startswith(tuple(tensors)) else a[name] for name in a}
        network.load_state_dict(mixed)
        split = halves[half]
        with torch.no_grad():
            return float(cross_entropy(network.eval()(dataset.normalise(split.inputs)), split.targets))

    added: tuple[str, ...] = ()
    for number in range(3):
        losses = {name: loss((*added, name), "train") for name in LAYERS if name not in added}
        added = (*added, min(losses, key=losses.__getitem__))
        np.testing.assert_allclose(found.chosen[number], min(losses.values()), rtol=1e-5)
        np.testing.assert_allclose(found.losses[number], loss(added, "test"), rtol=1e-5)
    assert found.layers == added
    whole = store.curve(ALL)
    np.testing.assert_allclose(found.losses[-1], whole["test", "cross_entropy"].mean[1], rtol=1e-5)
    np.testing.assert_allclose(found.errors[-1], whole["test", "error"].mean[1])
    assert plan([TASK], store).missing == 0
    file = store.folder(TASK) / "greedy.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedError):
        store.measured(TASK)


def test_it_is_named_and_needs_its_ends() -> None:
    assert TASK.needs() == (Train(SECOND), Train(FIRST))
    assert describe(TASK) == "average layers greedily of MLP on spiral, seed 0"
    for wrong in ((), ("fc", "fc")):
        with pytest.raises(RecipeError, match="none twice"):
            Greedy(TASK.start, TASK.end, wrong)
    with pytest.raises(RecipeError, match="examples"):
        Greedy(TASK.start, TASK.end, LAYERS, test_examples=-1)


def test_an_order_is_kept_as_bytes() -> None:
    order = GreedyOrder(("b", "a"), np.array([0.1, np.nan]), np.zeros(2), np.zeros(2))
    again = GreedyOrder.from_bytes(order.to_bytes())
    assert again.layers == ("b", "a")
    np.testing.assert_array_equal(again.chosen, order.chosen)
