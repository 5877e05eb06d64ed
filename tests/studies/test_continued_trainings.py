"""Trainings that start from a state within another, in its order of batches or their own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from linescape import checkpoints
from linescape.recipe import Optimizer, Recipe, Schedule, Trained
from linescape.studies.run import work
from linescape.studies.states import state
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Scan, Train
from linescape.training.loop import Checkpoint
from tests.support.moments import FLAT, IMAGES, by_hand, is_by_hand, keep, same


def child(order_seed: int = 0, **changes: object) -> Recipe:
    """A copy that goes on from step 7 of `IMAGES`."""
    init = Trained(IMAGES, at="step", number=7, optimizer="kept", schedule="continued")
    return replace(IMAGES, init=init, order_seed=order_seed, **changes)


def test_copies_go_on_from_one_state_in_other_orders(tmp_path: Path, steps: list[int]) -> None:
    store, copies = Store(tmp_path), [child(1), child(2)]
    outcome = work([Scan(Moment(copies[0]), Moment(copies[1]), alphas=3, train_examples=20)], store, progress=False)
    assert (outcome.done, outcome.failed) == (4, {})
    assert steps == [1, 2, 3, 4, 5, 6, 7, *[8, 9, 10, 11, 12] * 2]  # the first seven once, and no further
    spawn = by_hand(IMAGES, 7)
    start = Checkpoint(spawn.state, 7, spawn.optimizer)
    for recipe in copies:
        assert same(store.state(Moment(recipe, "start")), spawn.state)
        assert same(store.state(Moment(recipe)), by_hand(recipe, 12, start).state)
        log = store.log(recipe)
        assert log["epoch"].to_list() == [1, 2]
        assert log["lr"].to_list() == [pytest.approx(0.005 * (1 + math.cos(math.pi * k / 12))) for k in (7, 11)]
    assert not same(*(store.state(Moment(recipe)) for recipe in copies))


def copy_in_shared_order(at: str, number: int | None, order_seed: int) -> Recipe:
    init = Trained(IMAGES, at=at, number=number, optimizer="kept", schedule="continued", order="shared")  # type: ignore[arg-type]
    return replace(IMAGES, init=init, order_seed=order_seed)


@pytest.mark.parametrize(("at", "number"), [("start", None), ("step", 3), ("step", 7), ("epoch", 2)])
def test_a_copy_in_the_same_order_is_the_training_itself(at: str, number: int | None, tmp_path: Path) -> None:
    store, copy = Store(tmp_path), copy_in_shared_order(at, number, order_seed=0)
    assert copy.key != IMAGES.key
    line = Scan(Moment(IMAGES), Moment(copy), alphas=5, train_examples=20)
    assert work([line], store, progress=False).failed == {}
    for name in ("end.safetensors", "optimizer.safetensors"):
        one, other = (checkpoints.read(store.folder(Train(recipe)) / name) for recipe in (IMAGES, copy))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[tensor], other[tensor]) for tensor in one)
    errors = store.curve(line)["test", "error"].mean
    assert max(errors) - (errors[0] + errors[-1]) / 2 == 0.0  # Frankle et al.'s instability


def test_a_copy_from_the_start_is_the_whole_training_in_its_order(tmp_path: Path) -> None:
    store, copy, whole = Store(tmp_path), copy_in_shared_order("start", None, 3), replace(IMAGES, order_seed=3)
    assert work([Train(copy), Train(whole)], store, progress=False).failed == {}
    assert same(store.state(Moment(copy)), store.state(Moment(whole)))
    assert not same(store.state(Moment(copy)), by_hand(IMAGES, 12).state)
    assert store.log(copy).drop("seconds").equals(store.log(whole).drop("seconds"))


def test_copies_in_other_orders_differ_and_share_their_batches_with_copies_from_other_states(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = (copy_in_shared_order("step", 7, seed) for seed in (1, 2))
    line = Scan(Moment(one), Moment(two), alphas=5, train_examples=20)
    assert work([line], store, progress=False).failed == {}
    assert not same(store.state(Moment(one)), store.state(Moment(two)))
    losses = store.curve(line)["test", "cross_entropy"].mean
    assert losses[0] != losses[-1]
    assert one.ordering == copy_in_shared_order("start", None, 1).ordering == replace(IMAGES, order_seed=1)
    deeper = replace(one, init=Trained(one, at="epoch", number=2, schedule="continued", order="shared"), order_seed=4)
    assert deeper.ordering == replace(IMAGES, order_seed=4)
    assert child(4).ordering == child(4)


def test_states_within_a_training_that_continues_are_counted_from_the_schedules_beginning(tmp_path: Path) -> None:
    store, recipe = Store(tmp_path), child(1)
    spawn = by_hand(IMAGES, 7)
    asked = {keep(recipe, "step", 7): 7, keep(recipe, "step", 9): 9}
    early = [keep(recipe, "epoch", 1), Keep(Moment(recipe, "step", 6))]
    outcome = work([*asked, *early], store, progress=False)
    assert list(outcome.failed) == early
    assert all("goes from step 7 to 12, with 4 in an epoch" in reason for reason in outcome.failed.values())
    start = Checkpoint(spawn.state, 7, spawn.optimizer)
    assert all(is_by_hand(store, task, step, start) for task, step in asked.items() if step > 7)
    assert same(store.state(Moment(recipe, "step", 7)), spawn.state)
    work([Train(recipe)], store, progress=False)
    late = keep(recipe, "step", 8)
    assert work([late], store, progress=False).done == 1
    assert is_by_hand(store, late, 8, start)


def test_a_training_is_prolonged(tmp_path: Path) -> None:
    longer = replace(FLAT, schedule=Schedule(6))
    store, recipe = Store(tmp_path), replace(longer, init=Trained(FLAT, optimizer="kept", schedule="continued"))
    work([Train(recipe)], store, progress=False)
    assert store.checkpoint(Moment(recipe)).step == 30
    end = store.checkpoint(Moment(FLAT))
    assert same(store.state(Moment(recipe)), by_hand(recipe, 30, Checkpoint(end.state, 20, end.optimizer)).state)
    again = replace(recipe, init=Trained(recipe, at="start", schedule="continued"), schedule=Schedule(5))
    work([Train(again)], store, progress=False)  # from the start of the prolongation, which is step 20
    assert store.log(again)["epoch"].to_list() == [4]


def test_a_new_schedule_begins_with_step_0(tmp_path: Path) -> None:
    store, recipe = Store(tmp_path), replace(FLAT, init=Trained(FLAT, at="epoch", number=1))
    work([Train(recipe)], store, progress=False)
    assert same(store.state(Moment(recipe)), by_hand(recipe, 20, Checkpoint(by_hand(FLAT, 5).state)).state)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": Optimizer(batch_size=25)}, "has 4 steps here and 5 there"),
        ({"schedule": Schedule(1)}, "continued after step 7, but it has only 5"),
    ],
)
def test_a_schedule_that_cannot_be_continued_is_refused(
    changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    recipe = replace(FLAT, init=Trained(FLAT, at="step", number=7, schedule="continued"), **changes)
    assert reason in work([Train(recipe)], Store(tmp_path), progress=False).failed[Train(recipe)]


def test_another_order_has_the_same_start_and_data(tmp_path: Path) -> None:
    noisy = replace(IMAGES, data=replace(IMAGES.data, label_noise=0.3))
    one, two = (replace(noisy, order_seed=seed) for seed in (0, 5))
    assert one.key == noisy.key != two.key
    store = Store(tmp_path)
    starts = [state(Moment(recipe, "start"), store) for recipe in (one, two, replace(noisy, seed=1))]
    assert same(*starts[:2])
    assert not same(*starts[1:])
    assert not same(by_hand(one, 2).state, by_hand(two, 2).state)
    assert not same(by_hand(replace(two, order_seed=6), 2).state, by_hand(two, 2).state)
    recipe = replace(two, init=Trained(one, at="start"))
    assert Train(recipe).needs() == ()
    work([Train(recipe)], store, progress=False)
    assert same(store.state(Moment(recipe, "start")), starts[0])


def test_blocks_are_set_back_at_a_moment_too(tmp_path: Path) -> None:
    recipe = replace(IMAGES, init=Trained(IMAGES, ("fc",), to="own", at="step", number=5))
    store = Store(tmp_path)
    work([Scan(Moment(recipe, "start"), Moment(IMAGES, "start"), alphas=2, train_examples=20)], store, progress=False)
    assert not store.has(Train(IMAGES))
    begun, theirs = state(Moment(recipe, "start"), store), by_hand(IMAGES, 5).state
    own = state(Moment(IMAGES, "start"), store)
    assert torch.equal(begun["fc.weight"], own["fc.weight"])
    assert torch.equal(begun["conv1.weight"], theirs["conv1.weight"])
