"""SLURM: the logic against a stand-in, and the same bits from a real SLURM of one node, with pre-emption."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from linescape import studies
from linescape.errors import RecipeError
from linescape.studies import executors
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Task, Train
from tests.support import fake_clusters, one_node_slurm, optional
from tests.support.fake_clusters import FakeSubmitit
from tests.support.own_study import as_file
from tests.support.small_study import FLAT, results, whole

TASKS: list[Task] = [Train(FLAT), whole(FLAT), whole(FLAT, alphas=3), whole(FLAT, alphas=5)]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSubmitit:
    made = FakeSubmitit()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "linescape.studies.executors.on_slurm", raising=False)
    monkeypatch.setenv("PATH", fake_clusters.programs(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    on_slurm: Any = importlib.import_module("linescape.studies.executors.on_slurm")
    monkeypatch.setattr(on_slurm, "LOOK", 0.01)
    monkeypatch.setattr(on_slurm, "QUEUE", 0.05)
    return made


def test_what_is_ready_is_an_array(fake: FakeSubmitit, tmp_path: Path) -> None:
    executor = executors.named("slurm", None, "", ("partition=long", "time=60", "reservation=mine"))
    assert executor.capacity("cpu") == 256
    outcome = work(TASKS, Store(tmp_path / "store"), progress=False, executor=executor)
    assert (outcome.done, outcome.failed) == (4, {})
    assert [count for count, _ in fake.arrays] == [1, 3]
    parameters = fake.arrays[1][1]
    assert (parameters["partition"], parameters["time"]) == ("long", 60)
    assert parameters["additional_parameters"] == {"requeue": True, "reservation": "mine"}
    assert parameters["mem"].endswith("M")
    assert "gpus_per_node" not in parameters
    assert not list((tmp_path / "linescape-slurm").iterdir())  # nothing is left of jobs that went well


def test_a_job_without_a_result_is_tried_again(fake: FakeSubmitit, tmp_path: Path, monkeypatch: Any) -> None:
    lost = FakeSubmitit(lost=[2])
    on_slurm = sys.modules["linescape.studies.executors.on_slurm"]
    monkeypatch.setattr(on_slurm, "submitit", lost)
    outcome = work(TASKS, Store(tmp_path / "store"), progress=False, executor=executors.named("slurm", 2))
    assert (outcome.done, outcome.failed) == (4, {})
    assert sum(count for count, _ in lost.arrays) == 5
    assert max(count for count, _ in lost.arrays) == 2
    monkeypatch.setattr(on_slurm, "submitit", FakeSubmitit(lost=range(1, 9)))
    failed = work(TASKS, Store(tmp_path / "again"), progress=False, executor=executors.named("slurm")).failed
    assert len(failed) == 4
    assert "It was tried 3 times. " in failed[TASKS[0]]
    assert ".err" in failed[TASKS[0]]


def test_jobs_in_flight_are_cancelled(fake: FakeSubmitit, tmp_path: Path, monkeypatch: Any) -> None:
    on_slurm: Any = sys.modules["linescape.studies.executors.on_slurm"]
    monkeypatch.setattr(on_slurm, "submitit", FakeSubmitit(lost=[1]))
    monkeypatch.setattr(on_slurm, "_queued", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        work(TASKS, Store(tmp_path / "store"), progress=False, executor=executors.named("slurm"))
    assert (tmp_path / "bin" / "called.txt").read_text() == "scancel 1\n"


def test_settings_are_checked(fake: FakeSubmitit, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, said in ((("time=1:00:00",), "Give minutes"), (("long",), "settings are name=value")):
        with pytest.raises(RecipeError, match=said):
            executors.named("slurm", None, "", settings)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RecipeError, match="no sbatch here"):
        executors.named("slurm")


@pytest.mark.slow
def test_a_real_slurm_gives_the_same_bits(tmp_path: Path) -> None:
    optional.load("submitit")
    if reason := one_node_slurm.missing():
        pytest.skip(reason)
    part = ["my_study.py", "--arms", "base", "wide", "--runs", "1", "--store", "store"]
    command = [sys.executable, "-m", "linescape", "study", "run", *part, "--executor", "slurm", "--slurm", "time=60"]
    (tmp_path / "slurm").mkdir()
    with as_file(tmp_path) as file, one_node_slurm.running(tmp_path / "slurm") as variables:
        study = studies.find(str(file)).only("base", "wide", runs=1)
        environment = os.environ | variables | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        running = subprocess.Popen(command, cwd=tmp_path, env=environment)
        requeued = 0
        while running.poll() is None:
            time.sleep(1)
            for name in _jobs("R", environment)[: requeued < 3]:  # as a job of higher priority does
                requeued += _control(environment, "requeue", name)
            for name in _jobs("PD", environment):  # which SLURM holds for two minutes then
                _control(environment, "update", f"jobid={name}", "starttime=now")
        assert running.wait(timeout=600) == 0
    assert requeued
    with as_file(tmp_path):
        work(study, Store(tmp_path / "local"), progress=False, workers=1)
        assert results(Store(tmp_path / "store"), study.tasks()) == results(Store(tmp_path / "local"), study.tasks())


def _jobs(state: str, environment: Mapping[str, str]) -> list[str]:
    asked = ["squeue", "--noheader", "--array", "--states", state, "--format=%i"]
    return subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.split()


def _control(environment: Mapping[str, str], *words: str) -> bool:
    return subprocess.run(["scontrol", *words], env=environment, capture_output=True, check=False).returncode == 0
