"""The faults; each befalls the store of a trial once, which is then finished and compared."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.faults import clusters, disks
from tests.support.faults.trial import LONG, Trial

YEARS = 3e8
"""Seconds that a clock jumps by, ten years."""

GIGABYTES = 2 * 10**9
"""Memory that a process may use beyond its libraries; a greedy task asks for 34 GB."""


def killed(trial: Trial) -> None:
    """The process is killed at random moments, with its helpers or without, until it has done all."""
    code, longest = -signal.SIGKILL, trial.seconds / 2
    while code == -signal.SIGKILL:
        run = trial.begin("--workers", str(trial.draw.choice((1, 1, 2, 3))))
        if trial.working(run):
            trial.pause(longest)
        longest *= 1.05  # where a machine is busier than it was, nothing would ever come of lives as short as these
        code = trial.kill(run, helpers=trial.draw.random() < 0.5)
    trial.finish()


def training_killed(trial: Trial) -> None:
    """Long trainings, whose state is saved every ten seconds as everybody's are, are killed at random moments."""
    long = Trial(LONG, trial.scratch / "long", trial.draw, snapshot=10.0)
    try:
        for _ in range(4):
            run = long.begin()
            if long.working(run):
                long.pause(20.0)
            long.kill(run)
        long.finish()
    finally:
        long.end()
        shutil.rmtree(long.scratch)
        trial.counts.add(long.counts)


def helper_killed(trial: Trial) -> None:
    """A helper is killed at a random moment of its work; the run goes on with another."""
    run = trial.begin("--workers", "2", slow=0.3)
    if trial.until(run, lambda event: event.process != run.pid and event.kind == "begin"):
        trial.pause(0.5 * trial.seconds)
        helpers = sorted(set(trial.alive()) - {run.pid})
        with suppress(ProcessLookupError, IndexError):
            os.kill(trial.draw.choice(helpers), signal.SIGKILL)
            trial.counts.deaths += 1
    trial.counts.unfinished += trial.wait(run) != 0
    trial.finish()


def side_by_side(trial: Trial) -> None:
    """Two or three processes work on one store, and all but one of them are killed at random moments."""
    runs = [trial.begin() for _ in range(trial.draw.choice((2, 3)))]
    trial.working(runs[-1])
    for run in runs[:-1]:
        trial.pause(trial.seconds / 2)
        trial.kill(run)
    trial.counts.unfinished += trial.wait(runs[-1]) != 0
    trial.finish()


def clock_jumps(trial: Trial) -> None:
    """The clock jumps by ten years in runs that are killed, and so do the times of files between them."""
    for by in trial.draw.sample((-YEARS, YEARS), 2):
        run = trial.begin(clock=(trial.draw.uniform(0, trial.seconds), by))
        if trial.working(run):
            trial.pause()
        trial.kill(run)
        for path in trial.root.rglob("*"):
            moment = time.time() + trial.draw.choice((-YEARS, 0, YEARS))
            os.utime(path, (moment, moment))
    trial.finish()


def moved_away(trial: Trial) -> None:
    """The folder of the store is renamed away in the middle, and put back while the run goes on or after it."""
    run, aside, instead = trial.begin(), trial.scratch / "aside", trial.scratch / "instead"
    if trial.working(run):
        trial.pause()
    with suppress(FileNotFoundError):
        trial.root.rename(aside)
        trial.moved()
    if trial.draw.random() < 0.5:
        trial.wait(run)
    else:
        trial.pause(trial.seconds / 2)
    if aside.exists():
        _put_back(aside, trial.root, instead)
        trial.moved()
    if run.returncode is None:
        trial.wait(run)
    trial.finish()
    shutil.rmtree(instead, ignore_errors=True)


def _put_back(aside: Path, root: Path, instead: Path) -> None:
    """Rename a folder back, and what was made in its place to folders in `instead`; again while more is made."""
    instead.mkdir()
    for number in range(100):
        with suppress(FileNotFoundError):
            root.rename(instead / str(number))
        try:
            aside.rename(root)
        except OSError:  # a process has made it again
            continue
        return
    raise AssertionError(f"{root} was made again a hundred times.")


def removed(trial: Trial) -> None:
    """The folder of the store is deleted in the middle."""
    run = trial.begin()
    if trial.working(run):
        trial.pause()
    shutil.rmtree(trial.root, ignore_errors=True)
    trial.moved()
    trial.wait(run)
    trial.finish()


def memory_runs_out(trial: Trial) -> None:
    """The tasks of one arm ask for more memory than there is; they fail, and the others are done."""
    study = trial.study.replace(":study", ":greedy")
    code = trial.wait(trial.begin(study=study, memory=GIGABYTES))
    trial.counts.unfinished += code != 3 or "allocate memory" not in trial.errors.read_text()
    trial.finish()


def diverges(trial: Trial) -> None:
    """A training reaches NaN or infinity, which is a result, with the step."""
    code, found = trial.wait(trial.begin()), trial.read()
    trial.counts.unfinished += code != 0 or not found["diverged"]
    trial.finish()


def faults() -> dict[str, Callable[[Trial], None]]:
    """Those that can befall a study here, by their names."""
    found: dict[str, Callable[[Trial], None]] = {
        "the process is killed": killed,
        "a long training is killed": training_killed,
        "a helper is killed": helper_killed,
        "two or three processes, all but one killed": side_by_side,
        "the clock jumps by ten years": clock_jumps,
        "the store is renamed away and put back": moved_away,
        "the store is deleted": removed,
        "memory runs out in a task": memory_runs_out,
        "a training reaches NaN": diverges,
    }
    if disks.possible():
        found |= {"the disk is full": disks.full, "the disk is read-only": disks.read_only}
    if clusters.INSTALLED:
        found |= {"a Ray worker is killed": clusters.worker_killed, "a second raylet is killed": clusters.raylet_killed}
    return found
