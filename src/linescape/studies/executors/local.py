"""The default executor: this process and helpers on this machine, one for each core, or one for each GPU."""

from __future__ import annotations

import threading
import traceback
from contextlib import suppress
from functools import partial

import msgspec
import torch

from linescape.engine import threads
from linescape.studies.costs import approximate
from linescape.studies.executors.anywhere import Target, answer, do_unit, killed, message, outcome_of
from linescape.studies.processes import Processes, messages, reply, reply_of, send
from linescape.studies.schedule import Schedule
from linescape.studies.store import Store

ALONE_SECONDS = 3.0
"""Helpers are started only after this time, since each first imports torch; at once where there is much to do."""

MUCH = 30.0
"""Counted seconds of work for each process from which on there is much to do."""


class Local:
    """Processes of this machine; this one works too.

    Helpers are started late where there is little to do, and only while something is ready; each keeps its memory, and
    they end with this process.

    Args:
        workers: number of processes, including this one; by default one for each core, and one for each GPU.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def capacity(self, device: str) -> int:
        """The number of processes."""
        return self.workers or max(threads.cores(device), len(devices(device)))

    def run(self, schedule: Schedule, store: Store, device: str) -> None:
        """Do all units; Ctrl-C ends the helpers."""
        several = devices(device)
        first, *others = (several[number % len(several)] for number in range(self.capacity(device)))
        targets = [Target.of(store, other) for other in others]
        alone = ALONE_SECONDS if others and not _is_much(schedule, device) else 0.0
        with Processes("linescape.studies.executors.local:help_out") as helpers:
            feed = partial(_feed, schedule, helpers, alone)
            feeders = [threading.Thread(target=feed, args=(at,), daemon=True) for at in targets]
            try:
                for feeder in feeders:
                    feeder.start()
                while (unit := schedule.next()) is not None:
                    report = partial(schedule.report, unit)
                    schedule.settle(unit, do_unit(unit, store, first, report))
            finally:
                schedule.close()
                while any(feeder.is_alive() for feeder in feeders):
                    helpers.kill()
                    for feeder in feeders:
                        feeder.join(0.05)


def devices(device: str) -> list[str]:
    """Each GPU where any is meant and there are several; else the device itself."""
    count = torch.cuda.device_count() if device == "cuda" else 1
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [device]


def _is_much(schedule: Schedule, device: str) -> bool:
    """Whether there is work for so long that the start of helpers is nothing beside it."""
    seconds = 0.0
    for task in schedule.opened:
        with suppress(Exception):  # it is impossible, as will be said when it is tried
            seconds += approximate(task, device)
        if seconds >= MUCH * schedule.workers:
            return True
    return False


def _feed(schedule: Schedule, helpers: Processes, alone: float, target: Target) -> None:
    """Give units to helpers until there are none."""
    try:
        schedule.pause(alone)
        _feed_helpers(schedule, target, helpers)
    except Exception:  # which nobody sees in a thread, while all wait for the unit that it had
        schedule.stop(f"The run cannot go on:\n{traceback.format_exc()}")


def _feed_helpers(schedule: Schedule, target: Target, helpers: Processes) -> None:
    """Give units to a helper, and to another if it dies."""
    process = None
    while schedule.more():
        if process is None:
            process = helpers.begin()
            if not reply_of(process):  # which it sends when torch is imported
                return  # it cannot work here, so this process does without
        if (unit := schedule.take()) is None:
            continue  # others were quicker
        send(process, message(unit, target))
        try:
            outcome = outcome_of(reply_of(process))
        except msgspec.DecodeError:  # nothing, or half a line
            process.kill()
            code = process.wait()
            outcome = killed(f"signal {-code}" if code < 0 else f"exit code {code}")
            process = None
        schedule.settle(unit, outcome)


def help_out() -> None:
    """The function of a helper: does the unit of each message."""
    queue = messages()
    reply()
    while True:
        reply(answer(queue.get()))
