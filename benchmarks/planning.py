"""How long a plan of many tasks takes, and how near a study's schedule comes to the shortest that is possible.

    python -m benchmarks.planning [--tasks 100000] [--store FOLDER --scale cifar10-narrow-30]

Planning: tasks are listed and counted in an empty store, their costs are estimated and their schedule is gone through,
all but the timing of networks, which has a limit of its own. Schedules: the graph of each scale of vlaar2022 on 2, 16,
64 and 1,000 processes, as a ratio to the longer of the critical path and all work shared evenly. The times of tasks are
counted; with a store, those of its scale are those that its results took, and of tasks that it lacks counted in
proportion.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import results
from linescape import studies
from linescape.recipe import MLP, Data, Optimizer, Recipe, Schedule
from linescape.studies.costs import approximate
from linescape.studies.ordering import chains, makespan
from linescape.studies.planning import count
from linescape.studies.store import Store
from linescape.studies.study import Scan, Study, Task, Train

PROCESSES = (2, 16, 64, 1000)
BASE = Recipe(Data("fashion-mini"), MLP((8,)), Optimizer(batch_size=100), Schedule(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--scale", default="cifar10-narrow-30")
    given = parser.parse_args()
    approximate(Train(BASE))  # imports what counts operations
    result: dict[str, object] = {"planning": planning(given.tasks), "schedules": schedules()}
    if given.store:
        tasks = studies.find("vlaar2022", given.scale).tasks()
        taken = {task: float(store.record(task)["seconds"]) for store in [Store(given.store)] for task in _done(store)}
        measured = {task: taken[task] for task in tasks if task in taken}
        result["measured"] = {
            "scale": given.scale,
            "tasks": len(tasks),
            "tasks_measured": len(measured),
            "ratios": ratios(_filled(tasks, measured)),
        }
    for name, what in result.items():
        print(f"{name}: {what}", flush=True)
    results.write("planning", result)


def planning(tasks: int) -> dict[str, float]:
    """Seconds of each part of a plan of so many tasks, and the most memory in MB."""
    begun = time.perf_counter()
    arms = {f"lr-{number}": {"lr": 0.001 * number} for number in range(1, 100)}
    study = Study.of("large", BASE, arms, seeds=max(tasks // 400, 1), lines=("blocks",), alphas=11)
    listed = study.tasks()
    made = time.perf_counter()
    counts = count(listed, Store("absent"))
    counted = time.perf_counter()
    seconds = {task: approximate(task) for task in listed}
    costed = time.perf_counter()
    makespan(seconds, 64)
    return {
        "tasks": len(listed),
        "missing": counts.missing,
        "list": round(made - begun, 2),
        "count": round(counted - made, 2),
        "costs": round(costed - counted, 2),
        "schedule": round(time.perf_counter() - costed, 2),
        "seconds": round(time.perf_counter() - begun, 2),
        "memory": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def schedules() -> dict[str, dict[str, float]]:
    """Scale -> number of tasks, and the ratio for each number of processes."""
    tables: dict[str, dict[str, float]] = {}
    for scale in studies.scales("vlaar2022"):
        tasks = studies.find("vlaar2022", scale).tasks()
        tables[scale] = {"tasks": len(tasks), **ratios({task: approximate(task) for task in tasks})}
    return tables


def ratios(seconds: Mapping[Task, float]) -> dict[str, float]:
    """Number of processes -> the schedule's length over the shortest that is possible."""
    critical, work = max(chains(seconds).values()), sum(seconds.values())
    return {str(each): round(makespan(seconds, each) / max(critical, work / each), 4) for each in PROCESSES}


def _done(store: Store) -> list[Task]:
    return [task for task in store.tasks() if store.declined(task) is None]


def _filled(tasks: Sequence[Task], measured: Mapping[Task, float]) -> dict[Task, float]:
    """The times of all tasks, in proportion to counted ones where none was measured."""
    rates = {}
    for kind in (Train, Scan):
        known = [task for task in measured if isinstance(task, kind)]
        rates[kind] = sum(measured[task] for task in known) / sum(map(approximate, known))
    return {
        task: measured.get(task, rates[Scan if isinstance(task, Scan) else Train] * approximate(task)) for task in tasks
    }


if __name__ == "__main__":
    main()
