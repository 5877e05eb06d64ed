"""The best state of a training, by the examples that it holds out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

import linescape.studies.trainings
from linescape import data
from linescape.geometry.state import State
from linescape.recipe import MLP, Data, Moment, Optimizer, Recipe, Schedule, Trained
from linescape.studies.doing import do
from linescape.studies.half_done import Best
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Keep, Scan, Train
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint
from tests.support.moments import is_by_hand, same, stop_after

RECIPE = Recipe(  # 18 steps, with the lowest loss in between
    Data("spiral", fraction=0.03, held_out=0.1, label_noise=0.2),
    MLP((16,)),
    Optimizer(lr=0.3, batch_size=19),
    Schedule(6),
)
BEST = Keep(Moment(RECIPE, "best"))


def losses(store: Store) -> list[float]:
    """The loss on what is held out after each epoch, in float64."""
    dataset = data.load(RECIPE.data, RECIPE.seed)
    assert dataset.held_out is not None
    network = draw(RECIPE, dataset.shape, dataset.classes).double().eval()
    found = []
    for epoch in range(1, RECIPE.schedule.epochs + 1):
        store.state(Moment(RECIPE, "epoch", epoch)).load_into(network.float())
        with torch.no_grad():
            logits = network.double()(dataset.normalise(dataset.held_out.inputs).double())
        found.append(float(torch.nn.functional.cross_entropy(logits, dataset.held_out.targets)))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The training with its best state and that after each epoch."""
    store = Store(tmp_path_factory.mktemp("whole"))
    epochs = [Keep(Moment(RECIPE, "epoch", number)) for number in range(1, RECIPE.schedule.epochs + 1)]
    do(Train(RECIPE), store, also=[BEST, *epochs])
    return store


def files(store: Store) -> dict[str, bytes]:
    found = [*store.folder(BEST).glob("*.safetensors"), *store.folder(Train(RECIPE)).glob("*.safetensors")]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in found}


def test_it_is_the_state_after_the_epoch_with_the_lowest_loss_to_the_bit(whole: Store) -> None:
    found = losses(whole)
    epoch = 1 + int(np.argmin(found))
    assert 1 < epoch < RECIPE.schedule.epochs
    noted = whole.record(BEST)
    assert noted["epoch"] == epoch
    assert noted["held_out_loss"] == pytest.approx(found[epoch - 1], rel=1e-6)
    best, after = (whole.checkpoint(moment) for moment in (BEST.moment, Moment(RECIPE, "epoch", epoch)))
    assert best.step == after.step
    assert same(best.state, after.state)
    assert all(torch.equal(best.optimizer[name], value) for name, value in after.optimizer.items())
    assert is_by_hand(whole, BEST, best.step)


def test_of_several_epochs_with_the_lowest_loss_it_is_the_first_and_never_one_without_a_loss() -> None:
    states = [Checkpoint(State({"w": torch.ones(1)}), step) for step in range(7)]
    best = Best()
    for now, loss in zip(states, (math.nan, math.inf, 2.0, 1.0, math.nan, 1.0, 3.0), strict=True):
        best = best.or_now(now, loss)
    assert (best.checkpoint, best.loss) == (states[3], 1.0)


def test_it_is_measured_only_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Store) -> None:
    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(linescape.studies.trainings, "_held_out_loss", lambda *_: pytest.fail("it was measured"))
        do(Train(RECIPE), store)
    assert not store.has(BEST)
    assert store.log(RECIPE).drop("seconds").equals(whole.log(RECIPE).drop("seconds"))


def test_a_finished_training_is_repeated_for_it(tmp_path: Path, steps: list[int], whole: Store) -> None:
    store = Store(tmp_path)
    work([Train(RECIPE)], store, progress=False)
    assert plan([BEST], store, workers=1).repeated == 1
    steps.clear()
    assert work([BEST], store, progress=False).done == 1
    assert steps == list(range(1, 19))
    assert files(store).items() <= files(whole).items()


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_what_was_stopped_goes_on_to_the_same_bits(
    share: float, finished: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int], whole: Store
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store = Store(tmp_path)
    if finished:
        do(Train(RECIPE), store)
        steps.clear()
    with pytest.raises(KeyboardInterrupt):
        do(BEST, store, "cpu", stop_after(share))
    assert not store.has(BEST)
    do(BEST, store)
    assert len(steps) <= 18 + 2
    assert files(store).items() <= files(whole).items()
    for name in ("epoch", "held_out_loss"):
        assert store.record(BEST)[name] == whole.record(BEST)[name]
    assert not list(tmp_path.rglob("resume.safetensors"))


def test_a_training_that_was_begun_without_it_is_ended_and_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int], whole: Store
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        do(Train(RECIPE), store, "cpu", stop_after(0.5))
    steps.clear()
    do(BEST, store)
    assert steps[-18:] == list(range(1, 19))
    assert len(steps) < 18 + 11
    assert files(store).items() <= files(whole).items()


def test_lines_lead_to_it_and_trainings_start_from_it(tmp_path: Path, whole: Store) -> None:
    store, on = Store(tmp_path), replace(RECIPE, init=Trained(RECIPE, at="best"), schedule=Schedule(1))
    line = Scan(Moment(RECIPE, "start"), BEST.moment, alphas=3, test_examples=50)
    outcome = work([line, Train(on)], store, progress=False)
    assert (outcome.done, outcome.failed) == (3, {})
    assert store.has(Train(RECIPE)), "which is known with it"
    assert same(store.state(Moment(on, "start")), whole.state(BEST.moment))
    assert store.curve(line)["test", "cross_entropy"].mean.shape == (3,)


def test_a_training_that_diverges_at_once_has_none(tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer=Optimizer(lr=1e30))
    lost = Keep(Moment(recipe, "best"))
    for finished in (False, True):
        store = Store(tmp_path / str(finished))
        if finished:
            do(Train(recipe), store)
        do(lost, store)
        assert "finished no epoch with a finite loss" in (store.declined(lost) or "")
