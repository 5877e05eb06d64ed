"""Trainings on true labels from the usual and from a poisoned start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from linescape import data, models, studies
from linescape.recipe import MLP, Data, Moment, Optimizer, Recipe, Trained
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Arm, Train
from linescape.studies.works.liu2020 import LEARNT, POISONED, WAYS, poisoned
from linescape.training import interventions

ARMS = {arm.name: arm for arm in studies.find("liu2020", "mini").arms}


def pre_training(recipe: Recipe) -> Recipe:
    assert isinstance(recipe.init, Trained)
    assert (recipe.init.at, recipe.init.reset) == ("end", ())
    return recipe.init.recipe


def test_ways_of_training_differ_in_what_they_are_called() -> None:
    def settings(arm: Arm) -> tuple[bool, bool, bool]:
        recipe = arm.runs[0].recipe
        decay = recipe.optimizer.weight_decay > 0
        return recipe.optimizer.momentum > 0, recipe.data.augment != "none", decay

    assert [settings(ARMS[way]) for way in WAYS] == [
        (False, False, False),
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (True, True, True),
    ]


def test_both_starts_of_a_way_are_trained_alike_and_all_ways_have_one_poisoned_start() -> None:
    starts = set()
    for way in WAYS:
        for usual, from_poison in zip(ARMS[way].runs, ARMS[way + POISONED].runs, strict=True):
            assert replace(from_poison.recipe, init=usual.recipe.init) == usual.recipe
            starts.add(pre_training(from_poison.recipe))
        assert ARMS[way + POISONED].baseline == way
    assert len(starts) == len(ARMS["vanilla"].runs)
    for start in starts:
        assert (start.optimizer.momentum, start.optimizer.weight_decay, start.data.augment) == (0, 0, "none")
        assert start.schedule.until_error == LEARNT


def test_at_the_setting_of_the_source_weight_decay_is_the_source_s() -> None:
    arms = {arm.name: arm for arm in studies.find("liu2020", "cifar10").arms}
    recipe = arms["all"].runs[0].recipe
    assert recipe.optimizer == Optimizer("sgd", 0.1, 0.9, 5e-4, 128)
    assert (recipe.schedule.epochs, recipe.schedule.drops) == (350, (150, 250))
    assert pre_training(poisoned(recipe, "cifar10")).schedule.drops == (150, 250)


def test_a_seed_has_the_same_images_with_true_and_with_random_labels() -> None:
    usual, start = ARMS["vanilla"].runs[0].recipe, pre_training(ARMS["vanilla-poisoned"].runs[0].recipe)
    clean, random = (data.load(recipe.data, 0).train for recipe in (usual, start))
    assert len(clean.inputs) == len(random.inputs) == 1000
    same = clean.inputs == random.inputs
    assert bool((random.inputs[~same] == 0).all())
    assert 0.85 < float(same.float().mean()) < 0.99  # a tenth is zeroed, where it was not 0 before
    assert 0.05 < float((clean.targets == random.targets).float().mean()) < 0.15


def error_on_random_labels(recipe: Recipe, folder: Path) -> float:
    """Training error in % of the end of a training, by plain calls of the network in eval mode."""
    store = Store(folder)
    work([Train(recipe)], store, progress=False, workers=1)
    dataset = data.load(recipe.data, recipe.seed)
    network = models.outline(recipe.model, *data.form(recipe.data)).to_empty(device="cpu").eval()
    state = store.state(Moment(recipe))
    network.load_state_dict({**state.parameters, **state.buffers})
    with torch.no_grad():
        wrong = network(dataset.normalise(dataset.train.inputs)).argmax(1) != dataset.train.targets
    return 100 * float(wrong.float().mean())


def test_random_labels_are_fitted(tmp_path: Path) -> None:
    """A fully connected network of 2 x 100 on 129 digits."""
    plain = Recipe(Data("digits"), MLP((100, 100)), Optimizer(batch_size=16))
    start = pre_training(interventions.adversarial(plain, epochs=150, fraction=0.1, until_error=LEARNT))
    assert error_on_random_labels(start, tmp_path) <= 0.01


@pytest.mark.slow
def test_random_labels_are_fitted_by_the_network_of_the_study(tmp_path: Path) -> None:
    """A ResNet-8 of width 8 on 1000 images, with the running statistics, which the error in training does not use."""
    start = pre_training(ARMS["all-poisoned"].runs[0].recipe)
    assert error_on_random_labels(start, tmp_path) <= 0.01
