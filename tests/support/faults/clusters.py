"""Faults of Ray, where it is installed: a worker, and a second raylet of a cluster on this machine, are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from tests.support.faults.trial import LIMIT, Trial

INSTALLED = find_spec("ray") is not None


def main() -> None:
    """Run a cluster of two raylets of one core each; print its address and the second's process, until input ends."""
    from ray.cluster_utils import Cluster

    alike = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**alike, "include_dashboard": False})
    second = cluster.add_node(**alike).all_processes["raylet"][0].process.pid
    print(cluster.address, second, flush=True)
    sys.stdin.read()
    cluster.shutdown()


@contextmanager
def cluster(trial: Trial) -> Iterator[tuple[str, int]]:
    """A cluster of two raylets: its address, and the process of the second."""
    command = [sys.executable, "-c", "from tests.support.faults.clusters import main; main()"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=trial.environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            address, second = process.stdout.readline().split()
            yield address.decode(), int(second)
            process.stdin.close()
            process.wait(LIMIT)
        finally:
            process.kill()


def workers(trial: Trial) -> list[int]:
    """The processes of Ray that do a task of the trial."""
    found = []
    for process in trial.alive():
        with suppress(OSError):
            if (Path("/proc") / str(process) / "cmdline").read_bytes().startswith(b"ray::answer"):
                found.append(process)
    return found


def worker_killed(trial: Trial) -> None:
    """A worker of Ray is killed while it does a task."""
    run = trial.begin("--executor", "ray", "--workers", "2")
    if trial.until(run, lambda event: event.process != run.pid and event.kind == "begin"):
        trial.pause(trial.seconds / 2)
        ended = time.monotonic() + 20.0
        while run.poll() is None and not (found := workers(trial)) and time.monotonic() < ended:
            time.sleep(0.01)
        if run.poll() is None and found:
            with suppress(ProcessLookupError):
                os.kill(trial.draw.choice(found), signal.SIGKILL)
                trial.counts.deaths += 1
    trial.wait(run)
    trial.finish()


def raylet_killed(trial: Trial) -> None:
    """The second raylet of a cluster is killed while tasks are done."""
    with cluster(trial) as (address, second):
        run = trial.begin("--executor", "ray", "--address", address, "--workers", "2")
        if trial.until(run, lambda event: event.process != run.pid and event.kind == "begin"):
            trial.pause(trial.seconds / 2)
            os.kill(second, signal.SIGKILL)
            trial.counts.deaths += 1
        trial.wait(run)
    trial.finish()
