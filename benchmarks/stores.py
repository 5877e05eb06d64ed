"""What a store of many runs costs: to see what is done, to plan, and to read what a report shows.

    python -m benchmarks.stores [--runs 10000] [--checkpoint 30000] [--folder FOLDER]

makes a store up, of ten arms with one line a run, and times each in a process of its own, by how much that reads, and
by the most memory that it takes. The page alone is timed with --page, since it draws every line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from linescape import report
from linescape.analysis import tables
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import MLP, Data, Optimizer, Recipe, Schedule
from linescape.studies import planning
from linescape.studies.encoding import LOG
from linescape.studies.places.local import LocalFolder
from linescape.studies.store import Store
from linescape.studies.study import Arm, Moment, Run, Scan, Study, Train, in_order
from linescape.training.loop import Checkpoint

ARMS, ALPHAS, EXAMPLES = 10, 11, 50


def study(runs: int) -> Study:
    arms = []
    for number in range(ARMS):
        recipes = [
            Recipe(Data("digits"), MLP((8,)), Optimizer(lr=0.01 * (number + 1)), Schedule(2), seed=seed)
            for seed in range(runs // ARMS)
        ]
        lines = [Scan(Moment(recipe, "start"), Moment(recipe), alphas=ALPHAS) for recipe in recipes]
        name = "base" if number == 0 else f"lr-{number}"
        pairs = zip(recipes, lines, strict=True)
        arms.append(Arm(name, "optimizer", name, tuple(Run(recipe, {"whole": line}) for recipe, line in pairs)))
    return Study("made-up", "", "A store of many runs", "", tuple(arms))


def fill(store: Store, made: Study, checkpoint: int) -> None:
    """Results of made-up numbers; nothing waits for the disk."""
    os.fsync = lambda _: None
    rng = np.random.default_rng(0)
    start = State({"layers.0.weight": torch.zeros(checkpoint // 8), "layers.1.weight": torch.ones(checkpoint // 8)})
    rows = [dict.fromkeys(LOG, 1.0) | {"epoch": epoch} for epoch in range(2)]
    falling = np.linspace(2.3, 0.3, ALPHAS)[:, None]
    for arm in made.arms:
        for run in arm.runs:
            end = State({name: value + 1 for name, value in start.items()})
            moved = Checkpoint(end, 10, {f"momentum_buffer/{name}": value for name, value in end.items()})
            store.save_training(Train(run.recipe), start, moved, rows, {"seconds": 1.0})
            values = {}
            for data in ("train", "test"):
                noise = rng.gamma(2.0, 0.5, size=EXAMPLES)
                values[data, "cross_entropy", "interpolate"] = falling * noise
                values[data, "error", "interpolate"] = 100.0 * (falling * noise > 1.0)
            store.save_curve(run.lines["whole"], Curve(np.linspace(0, 1, ALPHAS), values, {}), {"seconds": 1.0})


def measured(what: Callable[[], object]) -> dict[str, float]:
    """Seconds, the most memory, and what was read of which files, of a call in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        read: Counter[str] = Counter()
        real = LocalFolder.read

        def counted(self: LocalFolder, name: str) -> bytes:
            content = real(self, name)
            read[name.rpartition("/")[2]] += len(content)
            return content

        LocalFolder.read = counted  # type: ignore[method-assign]
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        what()
        seconds = time.perf_counter() - began
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        sender.send({"seconds": round(seconds, 2), "more_MB": round(more / 1e3), "read_bytes": dict(read)})

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    found: dict[str, float] = receiver.recv()
    return found


def main(runs: int, checkpoint: int, folder: Path, page: bool) -> None:
    torch.set_num_threads(1)
    made = study(runs)
    if not Store(folder).exists():
        fill(Store(folder), made, checkpoint)
    tasks = in_order(made.tasks())
    calls: dict[str, Callable[[], object]] = {
        "has": lambda: all(map(Store(folder).has, tasks)) or 1 / 0,
        "plan": lambda: planning.plan(tasks, Store(folder), "cpu"),
        "tables": lambda: tables.read(made, Store(folder)),
    }
    if page:
        calls["page"] = lambda: report.write(made, Store(folder), folder.with_name("page"))
    for name, call in calls.items():
        print(name, json.dumps(measured(call)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--checkpoint", type=int, default=30_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--page", action="store_true")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = settings.folder or Path(scratch, "store")
        main(settings.runs, settings.checkpoint, folder, settings.page)
