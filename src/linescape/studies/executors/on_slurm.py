"""Units as jobs of a SLURM cluster: arrays of all that is ready, requeued after pre-emption and at their time limit."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from linescape import atomic
from linescape.errors import RecipeError, StoreError, first_line
from linescape.recipe import typed
from linescape.recipe.user_code import search_path
from linescape.studies.executors.anywhere import Target, answer, killed, message, outcome_of
from linescape.studies.resources import Resources, needed
from linescape.studies.schedule import Outcome, Schedule, Unit
from linescape.studies.store import Store

IN_FLIGHT = 256
"""Jobs in the queue at once, at most, where nothing else is asked for."""

MINUTES = 240
"""Time limit of a job where none is asked for. One that reaches it is requeued, and continues."""

LOOK, QUEUE = 1.0, 15.0
"""Seconds between looks for results, and for jobs that have left the queue without one."""


class _Job(submitit.helpers.Checkpointable):  # type: ignore[misc]
    """What submitit pickles: this name, and a line of text. It begins the unit again, which continues where it was."""

    def __call__(self, line: bytes) -> bytes:
        return answer(line)


class Slurm:
    """Job arrays, through `submitit`. Files of the jobs are in ``linescape-slurm``, below the working folder.

    The working folder, the store, Python and the user's code must be at the same place on all nodes.

    Args:
        workers: jobs in the queue at once, at most.
        settings: of the jobs, ``name=value`` as in sbatch: ``partition=long``, ``time=60`` (minutes), ``mem=8G``.

    Raises:
        RecipeError: a setting is not ``name=value``, or there is no SLURM here.
    """

    def __init__(self, workers: int | None = None, settings: Sequence[str] = ()) -> None:
        self.workers = workers
        given = typed.settings(settings, " ".join(settings))
        if not given.get("time", "1").isdigit():
            raise RecipeError(f"The time limit {given['time']!r} is no number. Give minutes, as in time=60.")
        self.settings = {name: int(value) if value.isdigit() else value for name, value in given.items()}
        if missing := [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]:
            raise RecipeError(f"There is no {missing[0]} here, so no SLURM. Run this where jobs are submitted.")

    def capacity(self, _: str) -> int:
        """How many jobs are in the queue at once."""
        return self.workers or IN_FLIGHT

    def run(self, schedule: Schedule, store: Store, device: str) -> None:
        """Do all units; Ctrl-C cancels the jobs."""
        folder = _folder()
        target, flying, gone = Target.of(store, device), dict[str, tuple[Any, Unit]](), set[str]()
        arrays, asked, whole = set[str](), time.monotonic(), True
        try:
            while not schedule.ended:
                groups: defaultdict[Resources, list[Unit]] = defaultdict(list)
                for _ in range(self.capacity(device) - len(flying)):
                    if (unit := schedule.take()) is not None:
                        groups[needed(unit.task, device)].append(unit)
                for needs, units in groups.items():
                    jobs = self._submit(folder, needs, [message(unit, target) for unit in units])
                    flying |= {job.job_id: (job, unit) for job, unit in zip(jobs, units, strict=True)}
                    arrays |= {job.job_id.partition("_")[0] for job in jobs}
                schedule.pause(LOOK)
                ended = {name for name, (job, _) in flying.items() if job.paths.result_pickle.exists()}
                if time.monotonic() - asked >= QUEUE and (queued := _queued()) is not None:
                    ended |= gone & flying.keys() - queued  # not at once, as a result may come late
                    gone, asked = flying.keys() - queued, time.monotonic()
                for name in ended:
                    job, unit = flying.pop(name)
                    outcome = _outcome(job)
                    whole = whole and outcome.kind != "killed"
                    schedule.settle(unit, outcome)
            whole = whole and schedule.stopped is None
        except BaseException:
            whole = False
            raise
        finally:
            if arrays:  # also of units that are done: SLURM may have requeued one that had just ended
                subprocess.run(["scancel", *sorted(arrays)], check=False, capture_output=True)  # noqa: S603, S607
            if whole:
                shutil.rmtree(folder, ignore_errors=True)

    def _submit(self, folder: Path, needs: Resources, lines: Sequence[bytes]) -> list[Any]:
        """An array of jobs, one for each line."""
        jobs = submitit.SlurmExecutor(folder, max_num_timeout=1_000_000)
        known = {name: value for name, value in self.settings.items() if name in jobs._valid_parameters()}
        others = {name: value for name, value in self.settings.items() if name not in known}  # sbatch knows them
        paths = shlex.quote(os.pathsep.join(search_path()))  # where the user's code is found
        parameters: dict[str, Any] = {
            "job_name": "linescape",
            "time": MINUTES,
            "cpus_per_task": needs.cores,
            "mem": f"{needs.bytes // 10**6}M",
            "setup": [f"export PYTHONPATH={paths}"],
            "additional_parameters": {"requeue": True, **others},
            "array_parallelism": max(len(lines), 1),
        }
        if needs.gpu and not {"gres", "gpus_per_node", "gpus_per_task"} & known.keys():
            parameters["gpus_per_node"] = 1
        jobs.update_parameters(**parameters | known)
        try:
            return list(jobs.map_array(_Job(), lines))
        except FailedJobError as error:
            raise StoreError(
                f"SLURM took no jobs: {first_line(error)}. Nothing that was done is lost. Check the settings of its "
                "jobs (--slurm)."
            ) from error


def _folder() -> Path:
    """A new folder for the files of jobs; nobody else can write to it, since what they bring back is read from it."""
    place = Path("linescape-slurm").absolute()
    try:
        place.mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=time.strftime("%Y-%m-%d-%H-%M-%S-"), dir=place))
    except OSError as error:
        raise atomic.cannot_write(place, error) from error


def _queued() -> set[str] | None:
    """The user's jobs that wait or run, by their names; None if SLURM does not answer."""
    command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return None if ran.returncode else set(ran.stdout.split())


def _outcome(job: Any) -> Outcome:
    if not job.paths.result_pickle.exists():
        return killed(f"the job {job.job_id} left the queue without a result; its log is {job.paths.stderr}")
    error = job.exception()
    if error is not None:
        return killed(f"the job {job.job_id} ended with: {first_line(error)}; its log is {job.paths.stderr}")
    return outcome_of(job.result())
