"""Trainings in random subspaces of rising dimension."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from linescape import models, studies
from linescape.analysis import tables
from linescape.analysis.answers import answers
from linescape.recipe import MLP, Everything, Random, Subspace
from linescape.studies import vlaar2022
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.works.li2018 import IMAGES, LABELS, SCALES, training

STUDY = studies.find("li2018", "mini")


def test_the_networks_have_as_many_weights_as_the_sources() -> None:
    network = models.draw(MLP((200, 200)), (1, 28, 28), 10, Random(), seed=0)
    assert sum(weight.numel() for weight in network.parameters()) == 199_210
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert all(training(IMAGES, scale).model == MLP((200, 200)) for scale in SCALES)


def test_arms_differ_in_the_dimension_and_its_rate() -> None:
    for arm in STUDY.arms:
        for run in arm.runs:
            whole = replace(training(arm.group, "mini"), seed=run.seed)
            assert replace(run.recipe, trains=Everything(), optimizer=whole.optimizer) == whole
            rate = SCALES["mini"].rate if run.recipe.trains != Everything() else whole.optimizer.lr
            assert run.recipe.optimizer == replace(whole.optimizer, lr=rate)
        trains = arm.runs[0].recipe.trains
        assert arm.name == f"{arm.group}-{trains.dimension if isinstance(trains, Subspace) else 'all'}"
        assert arm.baseline == f"{arm.group}-all"
    assert [arm.group for arm in STUDY.arms] == [IMAGES] * 6 + [LABELS] * 4


def test_labels_are_random_and_images_as_they_are() -> None:
    poison = training(LABELS, "mini").data.poison
    assert poison is not None
    assert (poison.copies, poison.zeroed) == (1, 0.0)
    assert training(IMAGES, "mini") == vlaar2022.SCALES["mini"].warm_up["mlp-images"]


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_the_intrinsic_dimension_of_mnist_is_between_600_and_950(tmp_path: Path) -> None:
    """With one seed, after 30 epochs. The source reports 750 after 100."""
    arms = ("images-all", "images-600", "images-950")
    study, store = studies.find("li2018", "cifar10-narrow-30").only(*arms, runs=1), Store(tmp_path)
    assert not work(study, store, progress=False).failed
    (answer,) = answers(tables.read(study, store))
    shares = dict(answer.numbers.select("dimension", "share").iter_rows())
    assert shares[600] < 90 <= shares[950]
