"""Tasks that fail, diverge, or whose results are damaged or lost: only what needs them stops."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.job
import linescape.studies.kinds.line
import linescape.studies.trainings
from linescape import tensor_file
from linescape.errors import OverflowedError, StoreError
from linescape.recipe import Data
from linescape.studies.doing import do
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Task, Train
from linescape.training import interventions as change
from tests.support import damage
from tests.support.small_study import BASE, FLAT, results, study, whole

pytestmark = pytest.mark.usefixtures("no_helpers")


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
