"""The default executor: this process and helpers on this machine, one for each core, or one for each GPU."""

from __future__ import annotations

import threading
import traceback
from functools import partial

import msgspec
import torch

from linescape.engine import threads
from linescape.studies.executors.anywhere import Target, answer, do_unit, killed, message, outcome_of
from linescape.studies.processes import Processes, messages, reply, reply_of, send
from linescape.studies.schedule import Schedule
from linescape.studies.store import Store

ALONE_SECONDS = 3.0
"""Helpers are started only after this time, since each first imports torch."""


class Local:
    """Processes of this machine; this one works too.

    Helpers are started late and only while something is ready, each keeps its memory, and they end with this process.

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
        with Processes("linescape.studies.executors.local:help_out") as helpers:
            feeders = [threading.Thread(target=_feed, args=(schedule, at, helpers), daemon=True) for at in targets]
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


def _feed(schedule: Schedule, target: Target, helpers: Processes) -> None:
    """Give units to helpers until there are none."""
    try:
        _feed_helpers(schedule, target, helpers)
    except Exception:  # which nobody sees in a thread, while all wait for the unit that it had
        schedule.stop(f"The run cannot go on:\n{traceback.format_exc()}")


def _feed_helpers(schedule: Schedule, target: Target, helpers: Processes) -> None:
    """Give units to a helper, and to another if it dies."""
    schedule.pause(ALONE_SECONDS)
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
