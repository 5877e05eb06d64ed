"""What is missing of a study is done once and in order, by whoever is free, and gives the right results."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.executors.local
import linescape.studies.states
from linescape import models
from linescape.errors import StoreError
from linescape.geometry.state import State, lerp
from linescape.recipe import Model, Schedule
from linescape.studies.doing import do
from linescape.studies.run import work
from linescape.studies.schedule import Schedule as Units
from linescape.studies.store import Store
from linescape.studies.study import Arm, Moment, Run, Scan, Study, Task, Train
from linescape.training import interventions as change
from linescape.training.loop import Checkpoint
from tests.support.small_study import BASE, FLAT, results, study, whole

pytestmark = pytest.mark.usefixtures("no_helpers")


def test_helpers_take_what_is_free(done: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", 0.0)
    name = "st\udcff" if sys.platform == "linux" else "stö"  # bytes that are no text, where a file may have such a name
    store, tasks = Store(tmp_path / name), [Train(FLAT), *study().tasks()]

    def slow(task: Task, store: Store, device: str, report: Callable[[float], None], *given: object) -> None:
        for _ in range(600):  # the first task is not needed by the others, and waits until a helper did them
            if all(store.has(other) for other in tasks if other != task):
                break
            time.sleep(0.1)
        do(task, store, device, report)

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", slow)
    outcome = work(tasks, store, progress=False, workers=2)
    assert (outcome.done, outcome.failed) == (7, {})
    assert results(store, study().tasks()) == results(done, study().tasks())


def test_a_task_computes_with_one_thread_whatever_the_cores(done: Store, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        work([Train(BASE)], Store(tmp_path), progress=False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert results(Store(tmp_path), (Train(BASE),)) == results(done, (Train(BASE),))


def test_a_training_builds_its_network_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built, build = list[Model](), models.build

    def counted(spec: Model, shape: tuple[int, ...], classes: int) -> models.Network:
        built.append(spec)
        return build(spec, shape, classes)

    monkeypatch.setattr(models, "build", counted)
    do(Train(BASE), Store(tmp_path))
    assert built == [BASE.model]


def test_a_finished_study_is_not_touched(done: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", None)
    before = {path: path.stat().st_mtime_ns for path in done.root.rglob("*")}
    outcome = work(study(), done)
    assert (outcome.done, outcome.before) == (0, 6)
    assert {path: path.stat().st_mtime_ns for path in done.root.rglob("*")} == before


def test_needs_are_done_first_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = whole(change.partial(FLAT, "fc"))
    order: list[Task] = []

    def note(task: Task, *rest: object) -> None:
        order.append(task)
        do(task, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", note)
    work([asked, whole(FLAT)], Store(tmp_path), progress=False)
    assert order == [Train(FLAT), Train(asked.end.recipe), asked, whole(FLAT)]


def test_two_experiments_do_what_they_share_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = replace(FLAT, schedule=Schedule(1))
    first = Study("one", "mini", "", "", (Arm("base", "base", "", (Run(FLAT, {"whole": whole(FLAT)}),)),))
    runs = (Run(FLAT, {"whole": whole(FLAT), "again": whole(FLAT)}), Run(shorter, {"whole": whole(shorter)}))
    second = Study("two", "mini", "", "", (Arm("other", "base", "", runs[:1]), Arm("short", "base", "", runs)))
    order: list[Task] = []

    def note(task: Task, *rest: object) -> None:
        order.append(task)
        do(task, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", note)
    for asked in (first, second):
        work(asked, Store(tmp_path), progress=False)
    assert order == [Train(FLAT), whole(FLAT), Train(shorter), whole(shorter)]


def test_a_line_reproduces_the_log_at_its_end(done: Store) -> None:
    last = done.log(BASE).row(-1, named=True)
    curve = done.curve(whole(BASE))
    assert curve["test", "error"].mean[-1] == last["test_error"]
    assert curve["test", "cross_entropy"].mean[-1] == pytest.approx(last["test_loss"], rel=1e-6)
    assert curve["train", "error"].values.shape == (4, 20)
    assert curve["test", "error"].values.shape == (4, 2000)


def test_layer_wise_lines_meet_the_whole_line_at_the_end(done: Store) -> None:
    one, all_ = done.curve(whole(BASE, block="fc", batchnorm=("interpolate", "recalibrate"))), done.curve(whole(BASE))
    assert np.array_equal(one["test", "error", "interpolate"].values[-1], all_["test", "error"].values[-1])
    assert not np.array_equal(one["test", "error", "interpolate"].values[0], all_["test", "error"].values[0])


def test_the_note_says_where_a_result_comes_from(done: Store) -> None:
    about = done.record(Train(BASE))
    assert set(about) >= {"finished", "seconds", "device", "cpu", "versions", "diverged", "native_library", "files"}
    assert about["native_library"] is None
    assert set(about["versions"]) == {"linescape", "torch", "numpy", "python"}


def test_the_test_half_is_measured_now_and_then(tmp_path: Path) -> None:
    recipe = replace(FLAT, schedule=Schedule(12))
    work([Train(recipe)], Store(tmp_path), progress=False)
    log = Store(tmp_path).log(recipe)
    assert log["epoch"].to_list() == list(range(12))
    assert [row["epoch"] for row in log.to_dicts() if row["test_loss"] is not None] == [2, 5, 8, 11]
    assert log["train_loss"].null_count() == 0


def test_a_start_is_known_without_its_training(tmp_path: Path, done: Store) -> None:
    other = Moment(replace(BASE, seed=5), "start")
    lines = [
        Scan(Moment(BASE), start, alphas=2, train_examples=20) for start in (other, Moment(change.zeros(BASE), "start"))
    ]
    assert work(lines, Store(tmp_path), progress=False).done == 3
    drawn = linescape.studies.states.state(other, Store(tmp_path))
    assert not Store(tmp_path).has(Train(other.recipe))
    work([Train(other.recipe)], Store(tmp_path), progress=False)
    kept = Store(tmp_path).state(other)
    assert all(torch.equal(kept[name], value) for name, value in drawn.items())
    # From weights of zero every class is as likely: the loss is ln 10.
    assert Store(tmp_path).curve(lines[1])["test", "cross_entropy"].mean[-1] == pytest.approx(np.log(10))


def test_a_restart_needs_a_hump(tmp_path: Path) -> None:
    recipe, store = change.restart_at_barrier(FLAT), Store(tmp_path)
    outcome = work([whole(recipe)], store, progress=False)
    assert not outcome.failed
    assert len(outcome.declined) == 2
    assert all("none above 0.05 nats" in reason for reason in outcome.declined.values())


def test_a_restart_begins_on_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.states, "TOLERANCE", -1.0)  # this network's line has no hump
    recipe, store = change.restart_at_barrier(FLAT), Store(tmp_path)
    work([Train(recipe)], store, progress=False)
    start, end, begun = (store.state(m) for m in (Moment(FLAT, "start"), Moment(FLAT), Moment(recipe, "start")))
    alphas = np.linspace(0, 1, 50)[1:-1]
    assert any(
        torch.equal(begun["layers.0.weight"], lerp(start["layers.0.weight"], end["layers.0.weight"], a)) for a in alphas
    )


def test_states_fit_checkpoints(done: Store) -> None:
    trained = done.checkpoint(Moment(BASE))
    assert isinstance(trained, Checkpoint)
    assert isinstance(trained.state, State)
    assert trained.step == 8
    assert "momentum_buffer/conv1.weight" in trained.optimizer


@pytest.mark.parametrize(("workers", "first"), [(4, Train(FLAT)), (5, Train(BASE))])
def test_many_workers_begin_with_the_longest_chain(workers: int, first: Task, tmp_path: Path) -> None:
    """The short training comes first in the study; the other is needed by one that continues it."""
    later = Train(change.partial(BASE, "layer1", optimizer="kept"))
    begun: list[Task] = []

    class Noting:
        """Does nothing, and notes what it was given first."""

        def capacity(self, device: str) -> int:
            return workers

        def run(self, schedule: Units, store: Store, device: str) -> None:
            unit = schedule.next()
            assert unit is not None
            begun.append(unit.task)
            schedule.stop("that was all")

    with pytest.raises(StoreError, match="that was all"):
        work([Train(FLAT), Train(BASE), later], Store(tmp_path), progress=False, executor=Noting())
    assert begun == [first]
