from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.executors.local
import linescape.studies.job
import linescape.studies.kinds.line
import linescape.studies.states
import linescape.studies.trainings
from linescape import models, tensor_file
from linescape.engine import compiler, library_digest
from linescape.errors import OverflowedError, StoreError
from linescape.geometry.state import State, lerp
from linescape.recipe import MLP, Data, Model, Optimizer, Recipe, ResNet, Schedule
from linescape.studies.doing import do
from linescape.studies.executors.anywhere import Target, message
from linescape.studies.processes import Processes, reply_of, send
from linescape.studies.run import work
from linescape.studies.schedule import Schedule as Units
from linescape.studies.schedule import Unit
from linescape.studies.store import Store
from linescape.studies.study import Arm, Keep, Moment, Run, Scan, Study, Task, Train
from linescape.training import interventions as change
from linescape.training.loop import Checkpoint
from tests.support import damage

BASE = Recipe(
    Data("fashion-mini", size=8, fraction=0.01, augment="crop-flip"),
    ResNet(8, 4),
    Optimizer(batch_size=32, weight_decay=5e-4),
    Schedule(2),
)
FLAT = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(lr=0.1, batch_size=50), Schedule(2))


def whole(recipe: Recipe, **changes: object) -> Scan:
    return replace(Scan(Moment(recipe, "start"), Moment(recipe), alphas=4, train_examples=20), **changes)


def study() -> Study:
    """Two arms: a network with BatchNorm and augmentation, and its partial pre-training."""
    arms = []
    for name, recipe in (("base", BASE), ("partial", change.partial(BASE, "layer1", optimizer="kept"))):
        lines = {"whole": whole(recipe), "fc": whole(recipe, block="fc", batchnorm=("interpolate", "recalibrate"))}
        arms.append(Arm(name, "base", name, (Run(recipe, lines),)))
    return Study("test", "tiny", "a study", "nowhere", tuple(arms))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", math.inf)


def results(store: Store, tasks: tuple[Task, ...]) -> dict[str, object]:
    """Everything that a store says of tasks, without times."""
    found: dict[str, object] = {}
    for task in tasks:
        assert store.has(task)
        if isinstance(task, Train):
            for name in ("start", "end", "optimizer"):
                found[f"{task.key} {name}"] = (store.folder(task) / f"{name}.safetensors").read_bytes()
            found[f"{task.key} log"] = store.log(task.recipe).drop("seconds").rows()
        elif isinstance(task, Keep):
            for name in ("state", "optimizer"):
                found[f"{task.key} {name}"] = (store.folder(task) / f"{name}.safetensors").read_bytes()
        elif isinstance(task, Scan):
            curve = store.curve(task)
            found[f"{task.key} alphas"] = curve.alphas.tobytes()
            found |= {f"{task.key} {key}": values.tobytes() for key, values in curve.values.items()}
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("done"))
    outcome = work(study(), store, progress=True)
    assert (outcome.done, outcome.before, outcome.failed, outcome.declined) == (6, 0, {}, {})
    return store


@pytest.mark.parametrize("faster", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_and_company_change_nothing(faster: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killing", str(tmp_path), "study", str(faster)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    tasks = study().tasks()
    assert json.loads(ran.stdout)["deaths"] > 10 / faster
    expected = results(Store(tmp_path / "whole"), tasks)
    for name in ("killed", "shared"):
        assert results(Store(tmp_path / name), tasks) == expected
        held = [path.name for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert not [file for file in held if "partial" in file or file == "resume.safetensors"]
    parts = [int(line) for line in (tmp_path / "shared.txt").read_text().split()]
    assert len(parts) == 2
    assert sum(parts) == len(tasks)


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


def test_helpers_end_with_the_one_that_called_them(tmp_path: Path) -> None:
    endless = Train(replace(FLAT, schedule=Schedule(100_000)))
    with Processes("linescape.studies.executors.local:help_out") as helpers:
        helper = helpers.begin()
        assert reply_of(helper) == b"\n"
        send(helper, message(Unit(endless), Target.of(Store(tmp_path), "cpu")))
        begun = time.monotonic()
        while not (tmp_path / "train").exists() and time.monotonic() - begun < 60:
            time.sleep(0.1)
        assert helper.poll() is None
        assert helper.stdin is not None
        helper.stdin.close()  # as when this process is killed
        assert helper.wait(timeout=20) == 0
    assert not Store(tmp_path).has(endless)


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


@pytest.mark.parametrize("after", [0.3, 0.8])
def test_ctrl_c_loses_little(after: float, done: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store = Store(tmp_path)

    def stop(share: float) -> None:
        if share > after:
            raise KeyboardInterrupt

    for task in study().tasks():
        with store.claim(task), pytest.raises(KeyboardInterrupt):
            do(task, store, report=stop)
        assert not store.has(task)
        with store.claim(task):
            do(task, store)
    assert results(store, study().tasks()) == results(done, study().tasks())


def test_a_walk_goes_on_from_its_points(tmp_path: Path, done: Store) -> None:
    shutil.copytree(done.root, tmp_path / "copy")
    store, task = Store(tmp_path / "copy"), whole(BASE)
    shutil.rmtree(store.folder(task))
    seen: list[float] = []

    def stop(share: float) -> None:
        seen.append(share)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(task, store, report=stop)
    do(task, store, report=seen.append)
    assert seen == [0.25, 0.5, 0.75, 1.0]
    assert results(store, (task,)) == results(done, (task,))


def test_a_task_that_fails_stops_only_what_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINESCAPE_DATA", str(tmp_path / "absent"))  # not the sets that this machine may have
    absent = change.pretrained(replace(BASE, data=Data("cifar10")), Data("cifar10", classes=(0, 1)))
    wrong = whole(FLAT, block="layer7")
    outcome = work([whole(absent), wrong, whole(FLAT)], Store(tmp_path), progress=False)
    assert outcome.done == 2
    assert Store(tmp_path).has(whole(FLAT))
    first, *others, last = outcome.failed.values()
    assert "LINESCAPE_DATA" in first
    assert len(others) == 2
    assert all("which failed" in reason for reason in others)
    assert "no group 'layer7'" in last
    told = str(outcome).splitlines()
    assert re.fullmatch(r"2 tasks done in \d+ s, 0 were done before", told[0])
    assert told[1].startswith("train ResNet on cifar10, seed 0 failed; the next run tries again: The data set")
    assert told[-1].startswith("walk layer7 of MLP on spiral, seed 0 failed; the next run tries again: There is no")
    assert work([whole(absent)], Store(tmp_path), progress=False).failed  # tried again


def test_a_programs_mistake_is_kept_with_its_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("what now")

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", broken)
    (reason,) = work([Train(FLAT)], Store(tmp_path), progress=False).failed.values()
    assert "Traceback" in reason
    assert "what now" in reason


def test_a_diverged_run_is_kept_and_its_line_declined(tmp_path: Path) -> None:
    recipe = change.learning_rate(BASE, 1e30)
    tasks = [whole(recipe), whole(change.restart_at_barrier(recipe)), whole(change.partial(recipe, "fc"))]
    store = Store(tmp_path)
    outcome = work([*tasks, Train(FLAT)], store, progress=False)
    assert outcome.failed == {}
    assert store.has(Train(FLAT))
    assert store.diverged(recipe)
    assert not store.diverged(FLAT)
    assert store.record(Train(recipe))["diverged_step"] == store.checkpoint(Moment(recipe)).step
    assert "diverged_step" not in store.record(Train(FLAT))
    last = store.log(recipe).row(-1, named=True)
    assert not np.isfinite(last["train_loss"])
    assert last["test_error"] == 100.0
    assert store.diverged(tasks[2].end.recipe)
    assert "its end holds NaN or infinity: its training diverged" in (store.declined(tasks[0]) or "")
    assert {*tasks, Train(tasks[1].end.recipe)} <= set(outcome.declined)
    assert "walk the whole line of ResNet on fashion-mini, seed 0 and 3 more could not be done" in str(outcome)
    again = work([*tasks, Train(FLAT)], store, progress=False)
    assert (again.done, again.failed) == (0, {})


def test_a_line_whose_numbers_overflow_is_declined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowed(*_: object) -> None:
        raise OverflowedError("The order of operations decides.")

    monkeypatch.setattr(linescape.studies.kinds.line, "collect", overflowed)
    store = Store(tmp_path)
    outcome = work([whole(FLAT)], store, progress=False)
    assert outcome.failed == {}
    assert "no values that could be relied on. The order of operations decides." in (store.declined(whole(FLAT)) or "")
    assert work([whole(FLAT)], store, progress=False).done == 0


def test_a_damaged_result_stops_only_what_needs_it(done: Store, tmp_path: Path) -> None:
    shutil.copytree(done.root, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    (store.folder(Train(BASE)) / "end.safetensors").write_bytes(b"\0" * 100)
    lost, asked = whole(BASE, alphas=3), Train(FLAT)
    outcome = work([lost, asked], store, progress=False)
    assert (outcome.done, outcome.failed) == (3, {})
    assert list(outcome.remarks) == [Train(BASE)]
    assert f"{store.folder(Train(BASE)) / 'end.safetensors'} is damaged" in outcome.remarks[Train(BASE)]
    assert "train ResNet on fashion-mini, seed 0 was done again: " in str(outcome)
    assert results(store, study().tasks()) == results(done, study().tasks())
    assert work([lost, asked], store, progress=False).remarks == {}


def test_a_result_that_disappears_is_done_again(done: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(done.root, tmp_path / "copy")
    store, asked, gone = Store(tmp_path / "copy"), whole(BASE, alphas=3), Store(tmp_path / "copy").folder(Train(BASE))

    def losing(task: Task, *rest: object) -> None:
        if task == asked and gone.exists() and not (tmp_path / "lost").exists():
            (tmp_path / "lost").touch()
            shutil.rmtree(gone)
        do(task, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", losing)
    outcome = work([asked], store, progress=False)
    assert (outcome.done, outcome.before, outcome.failed) == (2, 0, {})
    assert results(store, study().tasks()) == results(done, study().tasks())


@pytest.mark.parametrize("lost", ["the result", "what it needs"])
def test_nothing_is_done_in_vain_for_ever(lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked, count = Store(tmp_path), whole(FLAT), list[Task]()

    def losing(task: Task, *rest: object) -> None:
        count.append(task)
        if lost == "what it needs" and task == asked:
            shutil.rmtree(store.folder(Train(FLAT)))
        do(task, *rest)  # type: ignore[arg-type]
        if lost == "the result":
            shutil.rmtree(store.folder(task))

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", losing)
    outcome = work([asked, Train(replace(FLAT, seed=1))], store, progress=False)
    assert len(count) <= 3 * 3
    assert asked in outcome.failed
    assert any("3 times in vain" in reason for reason in outcome.failed.values())


@pytest.mark.parametrize("damage", ["flipped", "of another"])
def test_a_half_done_training_that_cannot_be_used_begins_anew(
    damage: str, done: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    store = Store(tmp_path)

    def stop(share: float) -> None:
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(Train(BASE), store, report=stop)
    path = store.folder(Train(BASE)) / "resume.safetensors"
    content = bytearray(path.read_bytes())
    content[-40] ^= 4  # in a momentum or a weight
    if damage == "flipped":
        path.write_bytes(content)
    else:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "of another machine")
    outcome = work([Train(BASE)], store, progress=False)
    assert "began anew" in outcome.remarks[Train(BASE)]
    assert results(store, (Train(BASE),)) == results(done, (Train(BASE),))


def test_a_full_disk_stops_the_work_and_loses_nothing(
    done: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = Path.replace, [12]

    def full(self: Path, target: Path) -> Path:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(StoreError, match="the disk is full. Free some space, then try again"):
            work(study(), Store(tmp_path), progress=False)
    outcome = work(study(), Store(tmp_path), progress=False)
    assert outcome.before > 0
    assert results(Store(tmp_path), study().tasks()) == results(done, study().tasks())


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


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler, and Linux with AVX2")
def test_a_training_names_the_library_that_computed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 0.0)
    recipe, store = replace(FLAT, optimizer=replace(FLAT.optimizer, native=True)), Store(tmp_path)

    def stop(share: float) -> None:
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(Train(recipe), store, report=stop)
    monkeypatch.setattr(linescape.studies.job, "library_digest", lambda: "another")
    work([Train(recipe)], store, progress=False)
    record = store.record(Train(recipe))
    assert (record["native_convolutions"], record["native_library"]) == (True, "another")
    assert "computed with another native_library" in record["remarks"][0]
    monkeypatch.undo()
    assert re.fullmatch("[0-9a-f]{64}", library_digest() or "")
    do(Train(recipe), store)
    assert store.record(Train(recipe))["native_library"] == library_digest()


def run_damages(*counts: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.damage", "--finished", counts[0], "--unfinished", counts[1]]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert ran.stderr == "", ran.stderr
    assert sum(found["finished"].values()) == int(counts[0])
    assert sum(found["unfinished"].values()) == int(counts[1])
    return found


def test_a_few_damages_are_not_used() -> None:
    assert run_damages("2", "1")["used in silence"] == 0


@pytest.mark.slow
def test_no_damage_is_used_in_silence() -> None:
    assert run_damages("300", "200")["used in silence"] == 0


@pytest.mark.slow
def test_without_its_digest_half_done_work_would_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.trainings, "SNAPSHOT_SECONDS", 10.0)  # which `damage.main` sets
    monkeypatch.setattr(tensor_file, "decode_sealed", tensor_file.decode_with_note)
    assert damage.main(finished=0, unfinished=40, seed=1, verbose=False)["used in silence"] > 0


def test_a_line_is_not_measured_on_other_data_than_its_training_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    assert work([Train(FLAT)], store, progress=False).done == 1
    dataset = linescape.studies.job.load(FLAT.data, FLAT.seed)
    assert store.record(Train(FLAT))["data"] == dataset.digest
    test = dataclasses.replace(dataset.test, inputs=dataset.test.inputs + 1)
    other = dataclasses.replace(dataset, test=test)
    assert other.digest != dataset.digest
    monkeypatch.setattr(linescape.studies.kinds.line, "load", lambda *_: other)
    line = Scan(Moment(FLAT, "start"), Moment(FLAT), alphas=2)
    with pytest.raises(StoreError, match="is not what it was when the training"):
        work([line], store, progress=False)


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
