"""What handing out tasks costs, and what a second process gains.

    python -m benchmarks.scheduling [graph] [local] [pair] [ray] [--tasks 10000]

``graph`` plans and hands out tasks against a store in memory. ``local`` and ``ray`` do lines of a training that was
declined, which is all that there is to them: each is claimed, looked at, and settled by a record on the disk. ``pair``
trains 48 small networks with one process, with two, of one thread each, and with two that know nothing of each other,
which is the most that this machine can gain; both cores should be idle.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from benchmarks import results
from linescape.recipe import Data, Optimizer, Recipe, ResNet
from linescape.recipe import Schedule as Rates
from linescape.studies import executors
from linescape.studies.run import work
from linescape.studies.schedule import Outcome, Schedule
from linescape.studies.store import Store
from linescape.studies.study import Moment, Scan, Task, Train, in_order

SMALL = Recipe(Data("fashion-mini", size=14), ResNet(8, 8), Optimizer(weight_decay=5e-4), Rates(6))
RAY_TASKS, TRAININGS = 1000, 48
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def main() -> None:
    parts: dict[str, Callable[[int], dict[str, float]]] = {"graph": graph, "local": local, "pair": pair, "ray": on_ray}
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=parts, default=["graph", "local", "pair"])
    parser.add_argument("--tasks", type=int, default=10_000)
    given = parser.parse_args()
    found = {}
    for part in given.parts:
        found[part] = parts[part](given.tasks)
        print(f"{part}: {', '.join(f'{what} {value:.4g}' for what, value in found[part].items())}", flush=True)
    earlier = results.read("scheduling") or {}
    results.write("scheduling", {**{name: earlier[name] for name in parts if name in earlier}, **found})


class InMemory:
    """A store that only knows what is settled."""

    def __init__(self) -> None:
        self.settled: set[Task] = set()

    def has(self, task: Task) -> bool:
        return task in self.settled

    @contextmanager
    def claim(self, task: Task, part: tuple[int, int] | None = None) -> Iterator[bool]:  # noqa: ARG002
        yield True


def graph(count: int) -> dict[str, float]:
    """Ten lines of each of count / 11 trainings."""
    wanted: list[Task] = []
    for seed in range(count // 11):
        recipe = replace(SMALL, seed=seed)
        wanted += [Scan(Moment(recipe, "start"), Moment(recipe), alphas=2 + number) for number in range(10)]
    begun = time.perf_counter()
    tasks = in_order(wanted)
    store = InMemory()
    schedule = Schedule(tasks, store, workers=64)
    schedule.open()
    opened = time.perf_counter()
    while (unit := schedule.next()) is not None:
        store.settled.add(unit.task)
        schedule.settle(unit, Outcome("done"))
    ended = time.perf_counter()
    assert len(store.settled) == len(tasks)
    return {
        "tasks": len(tasks),
        "seconds to plan": opened - begun,
        "seconds to hand out": ended - opened,
        "ms a task": (ended - begun) / len(tasks) * 1e3,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def local(count: int) -> dict[str, float]:
    """Lines that are declined, by one process and by two; then on a disk."""
    found = {}
    for workers in (1, 2):
        found[f"ms a task with {workers}"] = _declined(count, executors.Local(workers), MEMORY) / count * 1e3
    return found | {"ms a task on the disk": _declined(count, executors.Local(1)) / count * 1e3}


def on_ray(count: int) -> dict[str, float]:
    """The same on a Ray cluster of this machine, its start apart."""
    del count
    begun = _declined(1, executors.named("ray", 2), MEMORY)
    seconds = _declined(RAY_TASKS, executors.named("ray", 2), MEMORY)
    return {"seconds to start": begun, "tasks": RAY_TASKS, "ms a task": (seconds - begun) / RAY_TASKS * 1e3}


def _declined(count: int, executor: executors.Executor, place: Path | None = None) -> float:
    """Seconds of settling so many lines."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        store = Store(folder)
        store.decline(Train(SMALL), "it only serves a benchmark", {})
        lines = [Scan(Moment(SMALL, "start"), Moment(SMALL), alphas=2 + number) for number in range(count)]
        begun = time.perf_counter()
        summary = work(lines, Store(folder), progress=False, executor=executor)
        assert len(summary.declined) == count
        return time.perf_counter() - begun


def pair(count: int) -> dict[str, float]:
    """Trainings of some seconds, by one process, by two, and by two that know nothing of each other."""
    count = min(count, TRAININGS)
    one, two = (_trained(range(count), workers) for workers in (1, 2))
    commands = ([sys.executable, "-c", APART, str(count), str(first)] for first in range(2))
    apart = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    strangers = max(float(process.communicate()[0]) for process in apart)
    return {
        "trainings": count,
        "seconds with 1": one,
        "seconds with 2": two,
        "times as fast": one / two,
        "seconds of two strangers, after their start": strangers,
        "times as fast as strangers": one / strangers,
    }


APART = "import sys; from benchmarks.scheduling import half; half(*map(int, sys.argv[1:]))"


def half(count: int, first: int) -> None:
    """Print how long every other training takes, from the first or from the second on."""
    print(_trained(range(first, count, 2), 1))


def _trained(seeds: Sequence[int], workers: int) -> float:
    trainings = [Train(replace(SMALL, seed=seed)) for seed in seeds]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        assert not work(trainings, Store(folder), progress=False, executor=executors.Local(workers)).failed
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
