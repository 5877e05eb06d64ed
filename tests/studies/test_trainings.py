"""States within trainings: to the bit those of a training that is stopped there, each step done once."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

import linescape.studies.trainings
import linescape.training.loop
from linescape import checkpoints
from linescape.geometry.state import State
from linescape.recipe import MLP, Data, Optimizer, Recipe, ResNet, Schedule, Trained
from linescape.studies import job
from linescape.studies.doing import do
from linescape.studies.planning import plan
from linescape.studies.run import work
from linescape.studies.states import state
from linescape.studies.store import Store, recipe_of
from linescape.studies.study import Keep, Moment, Scan, Task, Train, in_order
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint, Progress, train

FLAT = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(lr=0.1, batch_size=20), Schedule(4))  # of 5 steps
IMAGES = Recipe(
    Data("fashion-mini", size=8, fraction=0.02, augment="crop-flip", mixup=0.2),
    ResNet(8, 4),
    Optimizer("adamw", lr=0.01, batch_size=64, weight_decay=5e-4),
    Schedule(3, "cosine"),  # of 4 steps
)


def keep(recipe: Recipe, at: str, number: int) -> Keep:
    return Keep(Moment(recipe, at, number))  # type: ignore[arg-type]


def by_hand(recipe: Recipe, step: int, start: Checkpoint | None = None) -> Checkpoint:
    """An uninterrupted training, stopped there."""
    dataset = job.load(recipe.data, recipe.seed)
    with job.one_thread("cpu"):
        start = start or Checkpoint(State.from_module(draw(recipe, dataset.shape, dataset.classes)))
        return next(p.checkpoint() for p in train(recipe, dataset, start) if p.step == step)


def same(left: State, right: State) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def is_by_hand(store: Store, task: Keep, step: int, start: Checkpoint | None = None) -> bool:
    kept, expected = store.checkpoint(task.moment), by_hand(task.recipe, step, start)
    assert (kept.step, kept.optimizer.keys()) == (step, expected.optimizer.keys())
    momenta = all(torch.equal(kept.optimizer[name], value) for name, value in expected.optimizer.items())
    return same(kept.state, expected.state) and momenta


def files(store: Store, task: Task) -> dict[str, tuple[bytes, int]]:
    found = (path for path in store.folder(task).iterdir() if path.is_file() and path.name != ".lock")
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that trainings of the studies go through, in order."""
    gone: list[int] = []

    def counted(recipe: Recipe, dataset: object, start: Checkpoint, *rest: object) -> Iterator[Progress]:
        for progress in train(recipe, dataset, start, *rest):  # type: ignore[arg-type]
            if progress.step > start.step:
                gone.append(progress.step)
            yield progress

    monkeypatch.setattr(linescape.studies.trainings, "train", counted)
    return gone


def stop_after(share: float) -> Callable[[float], None]:
    def stop(done: float) -> None:
        if done > share:
            raise KeyboardInterrupt

    return stop


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


# -- a state is of its training, or is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "factor", "reason"),
    [
        (0, 1.1, "its epoch 0 has the training loss"),
        (0, 1 + 1e-6, "its epoch 2 has the training loss"),  # other last bits of weights, which losses do not show yet
        (19, 1.1, "its end has other bits"),
    ],
)
def test_a_training_that_is_repeated_otherwise_keeps_nothing(
    step: int, factor: float, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    work([Train(FLAT)], store, progress=False)
    before = files(store, Train(FLAT))
    rate = linescape.training.loop.learning_rate

    def other(recipe: Recipe, now: int, per_epoch: int) -> float:
        return rate(recipe, now, per_epoch) * (factor if now >= step else 1.0)

    monkeypatch.setattr(linescape.training.loop, "learning_rate", other)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
    line = Scan(asked.moment, Moment(FLAT), alphas=2)
    outcome = work([line], store, progress=False)
    assert list(outcome.failed) == [asked, line]
    assert f"could not be repeated to the bit: {reason}" in outcome.failed[asked]
    assert "It was computed with another cpu. Repeat it with" in outcome.failed[asked]
    assert not store.has(asked)
    assert store.kept(FLAT) == ()
    assert files(store, Train(FLAT)).items() >= before.items()
    monkeypatch.undo()
    assert work([line], store, progress=False).done == 2
    assert is_by_hand(store, asked, 3)


def test_elsewhere_a_training_is_repeated_to_its_end_which_proves_the_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    store, asked = Store(tmp_path), [keep(FLAT, "step", 3), keep(FLAT, "epoch", 2)]
    work([Train(FLAT)], store, progress=False)
    assert plan(asked, store, workers=1).repeated == 1
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
    steps.clear()
    assert work(asked, store, progress=False).done == 2
    assert steps == list(range(1, 21))
    assert all(is_by_hand(store, task, step) for task, step in zip(asked, (3, 10), strict=True))


def test_the_epoch_before_a_state_does_not_prove_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With one step in an epoch, the loss of epoch 0 is that of the start, whatever the step then does.
    recipe, store = replace(FLAT, optimizer=Optimizer(lr=0.1, batch_size=200)), Store(tmp_path)
    work([Train(recipe)], store, progress=False)
    rate = linescape.training.loop.learning_rate
    monkeypatch.setattr(linescape.training.loop, "learning_rate", lambda *step: rate(*step) * 1.5)
    (reason,) = work([keep(recipe, "epoch", 1)], store, progress=False).failed.values()
    assert "its epoch 1 has the training loss" in reason


def test_a_training_does_not_end_beside_a_state_that_was_kept_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    with monkeypatch.context() as patch:
        rate = linescape.training.loop.learning_rate
        patch.setattr(linescape.training.loop, "learning_rate", lambda *step: rate(*step) * (1 + 1e-6))
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
        assert work([asked], store, progress=False).done == 1
    (reason,) = work([Train(FLAT)], store, progress=False).failed.values()  # which does not ask for that state
    assert "after step 3 of the training" in reason
    assert "was kept earlier and is another now" in reason
    assert "computed with another cpu" in reason
    shutil.rmtree(store.folder(asked))
    assert work([Train(FLAT), asked], store, progress=False).done == 2
    assert is_by_hand(store, asked, 3)


@pytest.mark.parametrize("name", ["state.safetensors", "optimizer.safetensors", "done.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_state_is_made_again(name: str, damage: str, finished: bool, tmp_path: Path) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "epoch", 1)
    work([asked, *[Train(FLAT)] * finished], store, progress=False)
    path = store.folder(asked) / name
    content, middle = path.read_bytes(), len(path.read_bytes()) // 2
    path.write_bytes(content[:middle] + (bytes([content[middle] ^ 1]) + content[middle + 1 :]) * (damage == "flipped"))
    if damage == "gone":
        path.unlink()
    assert not store.has(asked)
    assert not Store(tmp_path).has(asked)
    assert Store(tmp_path).has(Train(FLAT)) == finished
    outcome = work([asked], Store(tmp_path), progress=False)
    assert (outcome.done, outcome.failed) == (1, {})
    assert is_by_hand(Store(tmp_path), asked, 5)
    if name != "done.json":
        assert "was done again" in outcome.remarks[asked]


def test_a_state_in_the_place_of_another_is_not_used(tmp_path: Path) -> None:
    store, one, two = Store(tmp_path), keep(FLAT, "step", 1), keep(FLAT, "step", 2)
    work([one, two], store, progress=False)
    shutil.rmtree(store.folder(two))
    shutil.copytree(store.folder(one), store.folder(two))
    assert store.has(one)
    assert not store.has(two)


# -- stopped ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45, 0.6])
def test_ctrl_c_while_a_training_is_repeated_loses_little(
    share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store, asked = Store(tmp_path), [keep(FLAT, "step", 3), keep(FLAT, "step", 6), keep(FLAT, "step", 13)]
    do(Train(FLAT), store)
    before = files(store, Train(FLAT))
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        do(asked[0], store, "cpu", stop_after(share), asked)
    for task in asked:
        if not store.has(task):
            do(task, store, "cpu", lambda _: None, asked)
    assert len(steps) <= 15 + 2  # what was under way, and its report
    assert all(is_by_hand(store, task, step) for task, step in zip(asked, (3, 6, 13), strict=True))
    assert files(store, Train(FLAT)) == before
    assert not list(tmp_path.rglob("resume.safetensors"))


@pytest.mark.parametrize("what", ["snapshot", "unchecked"])
def test_damaged_work_in_progress_is_not_used(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store, asked = Store(tmp_path), keep(FLAT, "step", 6)
    do(Train(FLAT), store)
    with pytest.raises(KeyboardInterrupt):
        do(asked, store, report=stop_after(0.4))
    path = store.folder(Train(FLAT) if what == "snapshot" else asked) / "resume.safetensors"
    content = bytearray(path.read_bytes())
    content[-20] ^= 2
    path.write_bytes(content)
    steps.clear()
    do(asked, store)
    assert steps == list(range(1, 11))
    assert is_by_hand(store, asked, 6)


def test_what_was_stopped_beyond_a_state_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    with pytest.raises(KeyboardInterrupt):
        do(Train(FLAT), store, report=stop_after(0.6))
    steps.clear()
    assert work([asked], store, progress=False).done == 1
    assert steps == [13, *range(14, 21), *range(1, 6)]
    assert store.has(Train(FLAT))
    assert is_by_hand(store, asked, 3)


@pytest.mark.slow  # test_run.py kills a study in the quick tests
@pytest.mark.parametrize("what", ["states", "best"])
def test_kills_and_company_change_no_state(what: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killing", str(tmp_path), what, "1"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["deaths"] > 10
    expected = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.safetensors")}
    assert len(expected) >= 10
    for name in ("killed", "shared"):
        found = {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.safetensors")}
        assert found == expected
        for path in expected - {path for path in expected if path.name == "curve.safetensors"}:  # which names seconds
            assert (tmp_path / name / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


def test_a_training_and_its_states_have_one_lock(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), keep(FLAT, "step", 3)
    with store.claim(Train(FLAT)) as first, Store(tmp_path).claim(asked) as second:
        assert (first, second) == (True, False)
    with store.claim(asked) as first, Store(tmp_path).claim(Train(FLAT)) as second:
        assert (first, second) == (True, False)


# -- starts of other trainings ------------------------------------------------------------------------------------


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


# -- what is said -------------------------------------------------------------------------------------------------


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
