"""Layers set back to their start, to a checkpoint, and to another draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import models, studies
from linescape.data import load
from linescape.recipe import Data, Moment, Optimizer, Random, Recipe, ResNet, Schedule
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Scan, Train
from linescape.studies.works import zhang2019


def test_each_layer_is_set_back_alone_and_compared_with_the_trained_network() -> None:
    study = studies.find("zhang2019", "mini")
    for arm in study.arms:
        for run in arm.runs:
            names = zhang2019.layers(run.recipe)
            scans = [scan for label, scan in run.lines.items() if label != "whole"]
            assert len(scans) == 7 * len(names)
            assert {scan.block for scan in scans} == set(names)
            assert all(scan.grid == (0.0, 1.0) and scan.rest == "end" and not scan.blocks for scan in scans)
            assert all(scan.end == Moment(run.recipe) for scan in scans)
            others = {scan.start for scan in scans if scan.start.recipe != run.recipe}
            seeds = {each.recipe.seed for each in arm.runs}
            (other,) = others
            assert other.at == "start"
            assert other.recipe.seed not in seeds
            assert replace(other.recipe, seed=run.recipe.seed) == run.recipe, "the same distribution"


def test_no_training_is_done_for_another_draw() -> None:
    trained = {task.recipe.seed for task in studies.find("zhang2019", "demo").tasks() if isinstance(task, Train)}
    assert trained == {0, 1}


def test_all_layers_set_back_together_are_the_start(tmp_path: Path) -> None:
    """To the bit, running statistics included; and the start's losses are those of a plain call."""
    recipe = Recipe(
        Data("fashion-mini", size=14, fraction=0.02), ResNet(depth=8, width=4), Optimizer(batch_size=50), Schedule(1)
    )
    start, end = Moment(recipe, "start"), Moment(recipe)
    first, *others = zhang2019.layers(recipe)
    together = Scan(start, end, first, alphas=2, train_examples=10, blocks=tuple(others))
    whole = Scan(start, end, alphas=2, train_examples=10)
    store = Store(tmp_path)
    assert not work([together, whole], store, progress=False).failed
    set_back, line = (store.curve(scan)["test", "cross_entropy"].values for scan in (together, whole))
    assert np.array_equal(set_back, line)
    dataset = load(recipe.data, recipe.seed)
    network = models.draw(recipe.model, dataset.shape, dataset.classes, Random(), 0).double()
    network.load_state_dict({name: value.double() for name, value in store.state(start).items()})
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(
            network.eval()(dataset.normalise(dataset.test.inputs).double()), dataset.test.targets, reduction="none"
        )
    assert set_back[0] == pytest.approx(losses.numpy(), abs=1e-5)
    assert not np.array_equal(set_back[0], set_back[1])
