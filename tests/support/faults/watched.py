"""A process of a study that notes what it does, and may have a clock that jumps or little memory.

    python -c "from tests.support.faults.watched import main; main()" study run my_study.py

is the command line, watched; helpers and Ray's workers are watched too. Settings come by the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import linescape.studies.executors.anywhere
import linescape.studies.executors.local
import linescape.studies.executors.on_ray
import linescape.studies.kinds.line
import linescape.studies.trainings
from linescape import studies
from linescape.errors import LinescapeError
from linescape.interpolation.curve import Point
from linescape.studies.garbage import find_garbage, remove
from linescape.studies.processes import Processes
from linescape.studies.store import Store
from linescape.studies.study import Scan, Task
from tests.support import damage
from tests.support.faults.counting import Event

VARIABLE = "LINESCAPE_TRIAL"
MAIN = "from tests.support.faults.watched import {}; {}()"


class Settings(msgspec.Struct, frozen=True):
    """What a process is given to do.

    Attributes:
        log: the file to note in.
        snapshot: seconds between snapshots of a training.
        clock: (after, by): after so many seconds the clock jumps by so many.
        slow: seconds that the process which hands out work waits before each task, so that helpers have some.
        memory: bytes that it may use beyond what it has used when it begins; 0 for any.
    """

    log: str
    snapshot: float = 10.0
    clock: tuple[float, float] = (0.0, 0.0)
    slow: float = 0.0
    memory: int = 0


class _Watched:
    """This process."""

    def __init__(self, settings: Settings, first: bool) -> None:
        self.settings, self.first, self.key = settings, first, ""
        self.log = os.open(settings.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(self, kind: str, key: str = "", value: float = 0.0) -> None:
        event = Event(time.monotonic(), os.getpid(), kind, key, value)
        os.write(self.log, json.dumps(event).encode() + b"\n")

    def do(self, real: Callable[..., None]) -> Callable[..., None]:
        def noted(task: Task, store: Store, device: str, report: Callable[[float], None], also: Any, part: Any) -> None:
            self.key = task.key
            self.note("begin", task.key, int(part is None and Store(store.address).has(task)))
            if self.first:
                time.sleep(self.settings.slow)

            def both(share: float) -> None:
                self.note("share", task.key, share)
                report(share)

            real(task, store, device, both, also, part)

        return noted

    def walk(self, real: Callable[..., Iterator[Point]]) -> Callable[..., Iterator[Point]]:
        def noted(*given: Any, **named: Any) -> Iterator[Point]:
            for point in real(*given, **named):
                self.note("point", self.key, point.alpha)
                yield point

        return noted

    def put(self, real: Callable[..., None]) -> Callable[..., None]:
        def noted(store: Store, task: Task, *rest: Any, **named: Any) -> None:
            real(store, task, *rest, **named)
            self.note("put", task.key)

        return noted


def watch(first: bool = False) -> None:
    """Note what this process does; `first`: it is the one that hands out work."""
    settings = msgspec.json.decode(os.environ[VARIABLE], type=Settings)
    watched = _Watched(settings, first)
    linescape.studies.trainings.SNAPSHOT_SECONDS = settings.snapshot
    linescape.studies.executors.local.ALONE_SECONDS = 0.0
    anywhere: Any = linescape.studies.executors.anywhere
    anywhere.do = watched.do(anywhere.do)
    line: Any = linescape.studies.kinds.line
    line.walk = watched.walk(line.walk)
    store: Any = Store
    store.put = watched.put(store.put)
    on_ray: Any = linescape.studies.executors.on_ray
    on_ray.answer = answer
    begun: Any = Processes.__init__

    def helper(self: Processes, function: str) -> None:
        begun(self, function)
        self.command[-1] = f"from tests.support.faults.watched import watch; watch(); {self.command[-1]}"

    processes: Any = Processes
    processes.__init__ = helper
    _jump(*settings.clock)
    if settings.memory:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + settings.memory, used + settings.memory))
    watched.note("up")


def _jump(after: float, by: float) -> None:
    """Let the clock of this process jump; that of the whole machine is not ours."""
    begun, seconds, nanoseconds = time.monotonic(), time.time, time.time_ns

    def jumped() -> float:
        return by if time.monotonic() - begun >= after else 0.0

    if by:
        time.time = lambda: seconds() + jumped()
        time.time_ns = lambda: nanoseconds() + int(jumped() * 1e9)


_watching: list[bool] = []


def answer(line: bytes) -> bytes:
    """Do a unit in a worker of Ray."""
    if not _watching:
        watch()
        _watching.append(True)
    return linescape.studies.executors.anywhere.answer(line)


def main() -> None:
    """The command line."""
    from linescape.__main__ import main as linescape_main

    watch(first=True)
    linescape_main()


def read() -> None:
    """Print, for arguments FILE and STORE, a digest of each part of each result, and which trainings diverged when.

    Then what ``store gc`` removes is removed, as points are of a walk whose process died just after it was published.
    """
    tasks, store = studies.find(sys.argv[1]).tasks(), Store(sys.argv[2])
    digests: dict[str, str] = {}
    diverged: dict[str, int] = {}
    for task in tasks:
        try:
            found = damage.contents(store, (task,))
        except LinescapeError as error:
            digests[f"{task.key} record"] = str(error)
            continue
        digests |= {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in found.items()}
        if (step := store.record(task).get("diverged_step")) is not None:
            diverged[task.key] = step
    trainings = [task.key for task in tasks if not isinstance(task, Scan)]
    assert not remove(store, find_garbage(store))
    print(json.dumps({"digests": digests, "diverged": diverged, "trainings": trainings}))
