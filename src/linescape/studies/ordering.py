"""In which order a study's tasks are done, and when the last of them ends, for any number of processes.

No schedule is shorter than the critical path, the longest chain of tasks of which each needs the one before, nor than
all the work shared evenly. One that begins with the longest chains comes close to that (docs/scaling.md).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from linescape.studies.tasks import Task

FEW = 4
"""Processes up to which tasks are done in the order of the study, so that what is interrupted has whole arms."""

_JOINS = -1


def chains(seconds: Mapping[Task, float]) -> dict[Task, float]:
    """Seconds of the longest chain that begins with each task; the longest of them is the critical path.

    Args:
        seconds: the time of each task, each after those that it needs; needs that are not among them are done.
    """
    after: defaultdict[Task, float] = defaultdict(float)
    lengths: dict[Task, float] = {}
    for task in reversed(list(seconds)):
        lengths[task] = seconds[task] + after[task]
        for need in task.needs():
            after[need] = max(after[need], lengths[task])
    return lengths


def ranks(seconds: Mapping[Task, float], processes: int) -> dict[Task, int]:
    """The place of each task in the order in which they are begun, as soon as what they need is done.

    Args:
        seconds: as of `chains`.
        processes: number of processes.
    """
    tasks = list(seconds)
    if processes > FEW:
        lengths = chains(seconds)
        tasks.sort(key=lambda task: -lengths[task])
    return {task: rank for rank, task in enumerate(tasks)}


def makespan(seconds: Mapping[Task, float], processes: int, joining: float = 0.0) -> float:
    """Seconds until the last task ends, if each process takes the first one whose needs are done.

    Args:
        seconds: as of `chains`.
        processes: number of processes.
        joining: seconds until all processes but the first begin.
    """
    place = ranks(seconds, processes)
    tasks = list(place)
    waited_for: defaultdict[int, list[int]] = defaultdict(list)
    waits = [0] * len(tasks)
    for task, rank in place.items():
        for need in task.needs():
            if need in place:
                waited_for[place[need]].append(rank)
                waits[rank] += 1
    ready = [rank for rank, count in enumerate(waits) if not count]  # sorted, and so a heap
    events = [(0.0, _JOINS), *[(joining, _JOINS)] * (processes - 1)]  # when a process joins, or ends this task
    idle, last = 0, 0.0
    while events:
        now, ended = heapq.heappop(events)
        idle += 1
        if ended != _JOINS:
            last = now
            for later in waited_for[ended]:
                waits[later] -= 1
                if not waits[later]:
                    heapq.heappush(ready, later)
        while idle and ready:
            begun = heapq.heappop(ready)
            heapq.heappush(events, (now + seconds[tasks[begun]], begun))
            idle -= 1
    return last
