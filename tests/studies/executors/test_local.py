"""Processes of this machine: what is done by whom does not matter, and one that dies is noticed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.executors.local
import linescape.studies.run
from linescape import studies
from linescape.studies.costs import approximate
from linescape.studies.doing import do
from linescape.studies.executors.anywhere import Target, message, outcome_of
from linescape.studies.executors.local import Local, devices
from linescape.studies.processes import Processes, reply_of, send
from linescape.studies.run import work
from linescape.studies.schedule import Outcome, Schedule, Unit
from linescape.studies.store import Store
from linescape.studies.study import Scan, Task, Train
from tests.support.own_study import FILE, as_file
from tests.support.small_study import FLAT, results, whole


def test_several_gpus_have_a_process_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices("cpu") == ["cpu"]
    assert (devices("cuda"), Local().capacity("cuda")) == (["cuda"], 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices("cuda:1") == ["cuda:1"]
    assert (Local().capacity("cuda"), Local().capacity("cuda:1"), Local(5).capacity("cuda")) == (3, 1, 5)


@pytest.mark.parametrize(("trainings", "much", "waited"), [(3, 1.4, 0.0), (3, 1.6, 3.0), (0, 0.1, 3.0)])
def test_helpers_are_started_at_once_where_there_is_much_to_do(
    trainings: int, much: float, waited: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeders = list[float]()
    monkeypatch.setattr(linescape.studies.executors.local, "_feed", lambda _, __, alone, ___: feeders.append(alone))
    monkeypatch.setattr(linescape.studies.executors.local, "MUCH", much * approximate(Train(FLAT)))
    schedule = Schedule([Train(replace(FLAT, seed=seed)) for seed in range(trainings)], Store(tmp_path), workers=2)
    schedule.open()
    schedule.close()  # which leaves nothing to do
    Local(2).run(schedule, Store(tmp_path), "cpu")
    assert feeders == [waited]


def in_helpers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let helpers run other code, which needs no torch and so begins at once."""

    class Quick(Processes):
        def __init__(self, function: str) -> None:
            super().__init__(function)
            self.command = [sys.executable, "-c", code]

    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", 0.0)
    monkeypatch.setattr(linescape.studies.executors.local, "Processes", Quick)


def waiting(monkeypatch: pytest.MonkeyPatch, first: Task, until: Any) -> None:
    """Let this process wait in the first task until something is so."""

    def slow(task: Task, *rest: Any) -> None:
        for _ in range(1200):
            if task != first or until():
                break
            time.sleep(0.05)
        do(task, *rest)

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", slow)


@pytest.mark.parametrize(
    ("end", "said"),
    [("os.kill(os.getpid(), 9)", "ended (signal 9)"), ("print('{', flush=True); time.sleep(60)", "(signal 9)")],
)
def test_a_helper_that_dies_is_a_failure_of_its_task(
    end: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = tmp_path / "deaths"
    code = (
        f"import os, sys, time\nprint(flush=True)\nsys.stdin.readline()\nopen({str(deaths)!r}, 'a').write('x')\n{end}"
    )
    in_helpers(monkeypatch, code)
    first, second = Train(FLAT), Train(replace(FLAT, seed=1))
    waiting(monkeypatch, first, lambda: deaths.exists() and len(deaths.read_text()) == 3)
    outcome = work([first, second, whole(FLAT)], Store(tmp_path / "store"), progress=False, workers=2)
    assert list(outcome.failed) == [second]
    assert outcome.failed[second].startswith("It was tried 3 times. ")
    assert said in outcome.failed[second]
    assert "memory" in outcome.failed[second]
    assert outcome.done == 2


def test_helpers_that_cannot_begin_leave_the_work_to_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_helpers(monkeypatch, "raise SystemExit(1)")
    assert work([Train(FLAT), whole(FLAT)], Store(tmp_path), progress=False, workers=3).done == 2


def test_ctrl_c_ends_the_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = tmp_path / "begun"
    in_helpers(monkeypatch, f"import os, time\nprint(flush=True)\nopen({str(begun)!r}, 'w').write(str(os.getpid()))\n"
               "time.sleep(600)")  # fmt: skip

    def interrupted(*given: object) -> None:
        for _ in range(600):
            if begun.exists() and begun.read_text():
                break
            time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", interrupted)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work([Train(FLAT), Train(replace(FLAT, seed=1))], Store(tmp_path / "s"), progress=False, workers=2)
    assert time.monotonic() - started < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


def test_a_long_walk_is_shared_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut as for idle workers, and the parts done by this process, whose helpers join after them."""
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", float("inf"))
    scan, parts, done = whole(FLAT, alphas=7), list[object](), list[Store]()

    def noted(task: Task, store: Store, device: str, report: Any, also: Any, part: object = None) -> None:
        parts.append(part)
        do(task, store, device, report, also, part)  # type: ignore[arg-type]

    monkeypatch.setattr(linescape.studies.executors.anywhere, "do", noted)
    for number, cut in enumerate((1, 3)):
        monkeypatch.setattr(linescape.studies.run, "parts", lambda scan, device, cut=cut: cut)
        done.append(Store(tmp_path / str(number)))
        assert work([scan], done[-1], progress=False, workers=2).done == 2
    assert parts == [None, None, None, (0, 3), (1, 3), (2, 3), None]
    assert results(done[0], (scan,)) == results(done[1], (scan,))


@pytest.mark.slow
def test_users_code_that_prints_and_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real helper: what it prints is no reply, and its death is the failure of its own task alone."""
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", 0.0)
    monkeypatch.setenv("FIRST", str(os.getpid()))
    text = FILE.replace(
        "    def forward(self, series):\n",
        "    def forward(self, series):\n        print('noise', flush=True)\n        os.write(1, b'{noise}')\n"
        "        if self.head.in_features == 12 and os.environ['FIRST'] != str(os.getpid()):\n"
        f"            open({str(tmp_path / 'deaths')!r}, 'a').write('x')\n            os.kill(os.getpid(), 9)\n",
    )
    with as_file(tmp_path, "import os\n" + text) as file:
        study = studies.find(str(file))
        base, _, wide = (arm.runs[0] for arm in study.arms)
        first, deadly, other = Train(FLAT), Train(wide.recipe), base.lines["whole"]
        deaths, store = tmp_path / "deaths", Store(tmp_path / "store")
        waiting(monkeypatch, first, lambda: store.has(other) and deaths.exists() and len(deaths.read_text()) >= 3)
        outcome = work([first, deadly, other], store, progress=False, workers=2)
    assert list(outcome.failed) == [deadly]
    assert "signal 9" in outcome.failed[deadly]
    assert outcome.done == 3


def test_a_file_that_is_named_like_a_module_of_python_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a helper, which finds the user's files all the same."""
    for name in ("random", "copy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    (tmp_path / "datasets.py").write_text(FILE)  # but a neighbour is found before a library of its name
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setitem(sys.modules, "datasets", None)  # what it was, or that it was not there, is put back at the end
    monkeypatch.delitem(sys.modules, "datasets")
    store = Store(tmp_path / "store")
    with as_file(tmp_path, "from datasets import study") as file:
        task = Train(studies.find(str(file)).arms[0].runs[0].recipe)
        with Processes("linescape.studies.executors.local:help_out") as helpers:
            helper = helpers.begin()
            assert reply_of(helper)
            send(helper, message(Unit(task), Target.of(store, "cpu")))
            assert outcome_of(reply_of(helper)) == Outcome("done")
    assert store.has(task)


def test_a_study_is_the_same_whatever_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linescape.studies.executors.local, "ALONE_SECONDS", 0.0)
    with as_file(tmp_path) as file:
        study = studies.find(str(file)).only("base", "wide", runs=1)
        for workers in (1, 3):
            assert not work(study, Store(tmp_path / str(workers)), progress=False, workers=workers).failed
        assert any(isinstance(task, Scan) for task in study.tasks())
        assert results(Store(tmp_path / "1"), study.tasks()) == results(Store(tmp_path / "3"), study.tasks())
