"""Runs that are stopped, killed or out of room: nothing is lost, and the results have the same bits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.executors.local
import linescape.studies.job
import linescape.studies.trainings
from linescape.engine import compiler, library_digest
from linescape.errors import StoreError
from linescape.recipe import Schedule
from linescape.studies.doing import do
from linescape.studies.executors.anywhere import Target, message
from linescape.studies.processes import Processes, reply_of, send
from linescape.studies.run import work
from linescape.studies.schedule import Unit
from linescape.studies.store import Store
from linescape.studies.study import Train
from tests.support.small_study import BASE, FLAT, results, study, whole

pytestmark = pytest.mark.usefixtures("no_helpers")


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
