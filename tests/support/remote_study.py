"""A process that does the small study on a store behind an address, and may be killed before its n-th write.

    python -m tests.support.remote_study ADDRESS [--kill N] [--slow SECONDS]

prints how many tasks it did. Leases expire soon, so that those of the dead are not waited for long.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from typing import Any

import torch

import linescape.studies.executors.anywhere
import linescape.studies.run
import linescape.studies.trainings
from linescape.studies.doing import do
from linescape.studies.places import leases, remote
from linescape.studies.store import Store
from linescape.studies.study import Task
from tests.support.small_study import study


def main(address: str, kill: int, slow: float) -> None:
    torch.set_num_threads(1)
    linescape.studies.trainings.SNAPSHOT_SECONDS = 0.0
    leases.BEAT, leases.EXPIRES, leases.POLL = 0.3, 3.0, 0.1
    left, real, mine = [kill], remote.RemoteFolder._put, []

    def put(self: remote.RemoteFolder, path: str, content: bytes, mode: str) -> object:
        if ".lease" not in path:  # which are written at any time
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(self, path, content, mode)

    def noted(task: Task, *rest: Any) -> None:
        time.sleep(slow)
        do(task, *rest)
        mine.append(task)

    remote.RemoteFolder._put = put  # type: ignore[method-assign]
    linescape.studies.executors.anywhere.do = noted  # type: ignore[assignment, attr-defined]
    outcome = linescape.studies.run.work(study().tasks(), Store(address), progress=False, workers=1)
    assert not outcome.failed, outcome.failed
    print(len(mine))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0.0)
    main(**vars(parser.parse_args()))
