"""Counts from what the processes of a study noted: what was done again, and what a death cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

SECONDS = 11.0
"""Of training that a death may cost: ten between snapshots, a step, and what it takes to write."""


class Event(NamedTuple):
    """What a process noted, in the order of all processes.

    Attributes:
        at: seconds of a clock that never jumps and that all processes share.
        process: its number.
        kind: ``up``: it can begin; ``begin``: a task, with 1 as its value if a fresh look finds it published;
            ``share``: so much of a task is done; ``point``: a position was measured, and is not saved yet;
            ``put``: a result was published; ``moved``: the store was removed, renamed away or put back.
        key: of the task.
        value: the share or the position.
    """

    at: float
    process: int
    kind: str
    key: str = ""
    value: float = 0.0


def parse(log: bytes) -> list[Event]:
    """The events of a log, a line of JSON each."""
    return [Event(*json.loads(line)) for line in log.splitlines()]


def done_again(events: Sequence[Event]) -> int:
    """How often a task was begun or published although it was published."""
    count, published = 0, set[str]()
    for event in events:
        if event.kind == "moved":
            published.clear()
        elif event.kind == "begin":
            count += bool(event.value)
        elif event.kind == "put":
            count += event.key in published
            published.add(event.key)
    return count


def points_lost(events: Sequence[Event]) -> int:
    """How many positions that one process had measured were measured again, at most."""
    last: dict[tuple[str, float], int] = {}
    lost: defaultdict[int, int] = defaultdict(int)
    for event in events:
        if event.kind == "moved":
            last.clear()
        elif event.kind == "point":
            place = event.key, event.value
            if place in last:
                lost[last[place]] += 1
            last[place] = event.process
    return max(lost.values(), default=0)


def seconds_lost(events: Sequence[Event], trainings: frozenset[str]) -> float:
    """How long one process had trained beyond the place from which the next went on, at most.

    Args:
        events: of all processes.
        trainings: the keys of the tasks that are trainings.
    """
    most = 0.0
    lives: dict[str, list[Event]] = {}  # of each training, what the last process noted that did it
    for event in events:
        if event.kind == "moved":
            lives.clear()
        if event.kind != "share" or event.key not in trainings:
            continue
        life = lives.setdefault(event.key, [event])
        if event.process != life[-1].process:
            kept = [each.at for each in life if each.value < event.value]
            most = max(most, life[-1].at - (kept or [life[0].at])[-1])
            life.clear()
        life.append(event)
    return most


@dataclass
class Counts:
    """What came of one fault.

    Attributes:
        runs: processes that did the study or a part of it.
        deaths: processes that were killed.
        refused: runs that ended in a message.
        failed: runs in which tasks failed, each with its reason, and the others were done.
        differ: results that are not those of a run that nothing befell, to the bit.
        again: tasks that were done although they were published.
        points: positions that one death made a later run measure again, at most; one may be lost.
        seconds: of training that one death made a later run repeat, at most; `SECONDS` may be lost.
        tracebacks: on standard error.
        unfinished: studies that a last, undisturbed run did not complete.
        leftovers: files of half-done work that ``store gc`` does not find, temporary files, and processes, after that.
        hung: runs that were ended by the time limit.
        notes: what was wrong, in words.
    """

    runs: int = 0
    deaths: int = 0
    refused: int = 0
    failed: int = 0
    differ: int = 0
    again: int = 0
    points: int = 0
    seconds: float = 0.0
    tracebacks: int = 0
    unfinished: int = 0
    leftovers: int = 0
    hung: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> bool:
        """Whether anything is not as it has to be."""
        none = (self.differ, self.again, self.tracebacks, self.unfinished, self.leftovers, self.hung)
        return any(none) or self.points > 1 or self.seconds > SECONDS

    def take(self, events: Sequence[Event], trainings: frozenset[str]) -> None:
        """Add what the processes on one store noted."""
        self.again += done_again(events)
        self.points = max(self.points, points_lost(events))
        self.seconds = max(self.seconds, round(seconds_lost(events, trainings), 2))

    def add(self, other: Counts) -> None:
        """Add those of another time."""
        for name, value in asdict(other).items():
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name in ("points", "seconds") else mine + value)


COLUMNS = tuple(name for name in asdict(Counts()) if name != "notes")


def table(came: dict[str, Counts]) -> str:
    """Counts by fault, as a table in Markdown."""
    rows = [["fault", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    rows += [[fault, *(str(getattr(counts, name)) for name in COLUMNS)] for fault, counts in came.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
