"""States within trainings: to the bit those of a training that is stopped there, each step done once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from linescape import checkpoints
from linescape.recipe import Optimizer, Recipe, Schedule
from linescape.studies import job
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.store import Store, recipe_of
from linescape.studies.study import Moment, Scan, Task, Train, in_order
from linescape.training.initialisation import draw
from tests.support.moments import FLAT, IMAGES, by_hand, files, is_by_hand, keep, same


@pytest.mark.parametrize(("recipe", "per_epoch", "last"), [(FLAT, 5, 20), (IMAGES, 4, 12)])
def test_a_training_keeps_what_is_asked_for_as_it_passes(
    recipe: Recipe, per_epoch: int, last: int, tmp_path: Path, steps: list[int]
) -> None:
    store = Store(tmp_path)
    asked = {keep(recipe, "step", 2): 2, keep(recipe, "step", 7): 7, keep(recipe, "epoch", 2): 2 * per_epoch}
    outcome = work([Train(recipe), *asked], store, progress=False)
    assert (outcome.done, outcome.failed) == (4, {})
    assert steps == list(range(1, last + 1))
    assert all(is_by_hand(store, task, step) for task, step in asked.items())
    plain = Store(tmp_path / "plain")
    work([Train(recipe)], plain, progress=False)
    for name in ("start.safetensors", "end.safetensors", "optimizer.safetensors"):
        assert files(store, Train(recipe))[name][0] == files(plain, Train(recipe))[name][0]
    assert store.log(recipe).drop("seconds").equals(plain.log(recipe).drop("seconds"))
    assert store.kept(recipe) == tuple(sorted(asked, key=lambda task: (task.moment.at, task.moment.number)))


def test_what_needs_only_early_states_trains_no_further_and_the_rest_goes_on_from_there(
    tmp_path: Path, steps: list[int]
) -> None:
    store = Store(tmp_path)
    line = Scan(Moment(IMAGES, "step", 2), Moment(IMAGES, "step", 5), alphas=3, train_examples=20)
    assert in_order([line]) == (keep(IMAGES, "step", 2), keep(IMAGES, "step", 5), line)
    assert work([line], store, progress=False).done == 3
    assert steps == [1, 2, 3, 4, 5]
    assert not store.has(Train(IMAGES))
    assert work([line, Train(IMAGES)], store, progress=False).done == 1
    assert steps == list(range(1, 13))
    assert same(store.state(Moment(IMAGES)), by_hand(IMAGES, 12).state)
    assert store.log(IMAGES)["epoch"].to_list() == [0, 1, 2]


def test_a_finished_training_is_repeated_for_a_state_that_it_did_not_keep(tmp_path: Path, steps: list[int]) -> None:
    store, asked = Store(tmp_path), [keep(FLAT, "step", 3), keep(FLAT, "step", 8), keep(FLAT, "epoch", 2)]
    work([Train(FLAT)], store, progress=False)
    before = files(store, Train(FLAT))
    steps.clear()
    outcome = work(asked, store, progress=False)
    assert (outcome.done, outcome.failed, outcome.remarks) == (3, {}, {})
    # A state counts once the epoch of the next step was compared with the log: one run for all three.
    assert steps == list(range(1, 16))
    assert all(is_by_hand(store, task, step) for task, step in zip(asked, (3, 8, 10), strict=True))
    assert files(store, Train(FLAT)) == before


def test_walks_between_moments_of_one_training_and_of_two(tmp_path: Path) -> None:
    store, other = Store(tmp_path), replace(FLAT, seed=1)
    ends = [(Moment(FLAT, "start"), Moment(FLAT, "step", 3)), (Moment(FLAT, "step", 3), Moment(other, "epoch", 1))]
    lines = [Scan(*pair, alphas=3, train_examples=20) for pair in ends]
    outcome = work(lines, store, progress=False)
    assert (outcome.done, outcome.failed) == (4, {})
    one, two = (store.curve(line)["test", "cross_entropy"] for line in lines)
    assert not np.array_equal(one.mean[0], one.mean[-1])
    dataset = job.load(FLAT.data, FLAT.seed)
    network = draw(FLAT, dataset.shape, dataset.classes)
    by_hand(FLAT, 3).state.load_into(network)
    with torch.no_grad():
        logits = network.eval()(dataset.normalise(dataset.test.inputs))
    loss = float(torch.nn.functional.cross_entropy(logits.double(), dataset.test.targets))
    assert one.mean[-1] == pytest.approx(loss, rel=1e-6)
    assert two.mean[0] == pytest.approx(loss, rel=1e-6)


def test_the_last_state_is_the_end_and_needs_no_training(tmp_path: Path, steps: list[int]) -> None:
    store, last = Store(tmp_path), [keep(FLAT, "epoch", 4), keep(FLAT, "step", 20)]
    work([Train(FLAT)], store, progress=False)
    steps.clear()
    assert work(last, store, progress=False).done == 2
    assert steps == []
    assert all(same(store.state(task.moment), store.state(Moment(FLAT))) for task in last)


@pytest.mark.parametrize(("at", "number"), [("step", 21), ("epoch", 5)])
@pytest.mark.parametrize("first", [True, False])
def test_a_step_beyond_the_end_is_an_error_and_no_training(
    at: str, number: int, first: bool, tmp_path: Path, steps: list[int]
) -> None:
    asked: list[Task] = [keep(FLAT, at, number), keep(FLAT, "step", 1)]
    outcome = work(asked if first else [Train(FLAT), *asked], Store(tmp_path), progress=False)
    assert list(outcome.failed) == asked[:1]
    assert f"after {at} {number} " in outcome.failed[asked[0]]
    assert "goes from step 0 to 20, with 5 in an epoch" in outcome.failed[asked[0]]
    assert len(steps) == (1 if first else 20)


@pytest.mark.parametrize("order", [1, -1])
def test_after_a_training_that_ended_early_there_are_no_states(order: int, tmp_path: Path) -> None:
    lost, learnt = (
        replace(IMAGES, optimizer=Optimizer(lr=1e30, batch_size=64)),
        replace(FLAT, schedule=Schedule(4, until_error=99)),
    )
    store = Store(tmp_path)
    for recipe in (lost, learnt):
        asked: list[Task] = [Train(recipe), keep(recipe, "step", 1), keep(recipe, "step", 10)]
        outcome = work(asked[::order], store, progress=False)
        assert (outcome.failed, list(outcome.declined)) == ({}, asked[2:])
        assert "so there is no state after step 10 of it" in outcome.declined[asked[2]]
        line = Scan(Moment(recipe, "start"), Moment(recipe, "step", 10), alphas=2)
        assert work([line], store, progress=False).declined == {line: outcome.declined[asked[2]]}


def test_its_file_is_a_checkpoint_like_any_other(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), keep(IMAGES, "epoch", 1)
    work([asked], store, progress=False)
    path = store.path(asked.moment)
    assert path == store.folder(Train(IMAGES)) / "epoch-1" / "state.safetensors"
    found = checkpoints.read(path)
    assert set(found) == set(store.state(asked.moment))
    assert recipe_of(found.metadata or {}) == IMAGES


def test_a_plan_counts_states_and_what_repeating_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = Store(tmp_path), [keep(FLAT, "step", 3), keep(FLAT, "epoch", 2)]
    found = plan(asked, store, workers=1)
    assert (found.states, found.missing_states, found.trainings, found.repeated) == (2, 2, 0, 0)
    assert "2 of 2 states within trainings to keep" in str(found)
    work([Train(FLAT), asked[0]], store, progress=False)
    found = plan([Train(FLAT), *asked], store, workers=1)
    assert (found.missing_trainings, found.missing_states, found.repeated) == (0, 1, 1)
    assert found.repeat_seconds == found.core_seconds > 0
    assert "1 finished trainings kept no such state, and are repeated up to there: about 0 s of that" in str(found)
    work(asked, store, progress=False)
    assert str(plan(asked, store, workers=1)) == "0 trainings and 0 lines, all done"
