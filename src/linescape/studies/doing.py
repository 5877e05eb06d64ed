"""Does one task of any kind, from where it was stopped, and saves the result in a store.

A task that cannot be done, since the training that it starts from diverged, is declined: that is its result.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from linescape.studies.job import Declined, Job, Report, conditions, one_thread
from linescape.studies.kinds import kind_of
from linescape.studies.kinds.kind import Part
from linescape.studies.store import Store
from linescape.studies.tasks import Task


def do(
    task: Task,
    store: Store,
    device: str = "cpu",
    report: Report = lambda _: None,
    also: Collection[Task] = (),
    part: Part | None = None,
) -> None:
    """Do one task, from where it was stopped if it was begun; its needs must be settled.

    Args:
        task: what to do.
        store: where its needs are read and its result is written.
        device: where to compute.
        report: called with the share that is done.
        also: tasks that it may do on its way, such as states of a training that are kept as it passes.
        part: of a task that is cut, such as a walk: (k, n) does only the k-th of n parts, which the whole then uses.

    Raises:
        StoreError: the store cannot be written, or a need is missing or damaged.
        LinescapeError: the task is impossible.
    """
    job = Job(store, device, report, conditions(device), time.perf_counter())
    try:
        for need in task.needs():
            if (reason := store.declined(need)) is not None:
                raise Declined(reason)
        with one_thread(device):
            kind_of(task).do(task, job, also, part)
    except Declined as declined:
        if part is not None:
            return  # the whole will say so
        store.decline(task, str(declined), job.record())
