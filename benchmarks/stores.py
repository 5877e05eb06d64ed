"""What a store of many runs costs: to see what is done, to plan, and to read what a report shows.

    python -m benchmarks.stores [--runs 10000] [--checkpoint 30000] [--folder FOLDER] [--calls has plan tables page]

makes a store up, of ten arms with one line a run, and measures each call in a process of its own: seconds, those of the
processor, the most memory that the process took, and the bytes that it read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
    os.fsync = lambda fd: None  # noqa: ARG005
    rng = np.random.default_rng(0)
    start = State({"layers.0.weight": torch.zeros(checkpoint // 8), "layers.1.weight": torch.ones(checkpoint // 8)})
    rows = [dict.fromkeys(LOG, 1.0) | {"epoch": epoch} for epoch in range(2)]
    falling = np.linspace(2.3, 0.3, ALPHAS, dtype=np.float64)[:, None]
    for arm in made.arms:
        for run in arm.runs:
            end = State({name: value + 1 for name, value in start.items()})
            moved = Checkpoint(end, 10, {f"momentum_buffer/{name}": value for name, value in end.items()})
            store.save_training(Train(run.recipe), start, moved, rows, {"seconds": 1.0})
            values: dict[tuple[str, str, str], NDArray[np.float64]] = {}
            for data in ("train", "test"):
                noise = rng.gamma(2.0, 0.5, size=EXAMPLES)
                values[data, "cross_entropy", "interpolate"] = np.asarray(falling * noise, np.float64)
                values[data, "error", "interpolate"] = np.asarray(100.0 * (falling * noise > 1.0), np.float64)
            store.save_curve(run.lines["whole"], Curve(np.linspace(0, 1, ALPHAS), values, {}), {"seconds": 1.0})


def measured(what: Callable[[], object]) -> dict[str, object]:
    """What a call took, and what it read of which files."""
    read: Counter[str] = Counter()
    real = LocalFolder.read

    def counted(self: LocalFolder, name: str) -> bytes:
        content = real(self, name)
        read[name.rpartition("/")[2]] += len(content)
        return content

    LocalFolder.read = counted  # type: ignore[method-assign]
    began, computing = time.perf_counter(), time.process_time()
    what()
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "of_the_processor": round(time.process_time() - computing, 2),
        "most_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "read_bytes": dict(read),
    }


def main(runs: int, folder: Path, call: str) -> None:
    torch.set_num_threads(1)
    made, store = study(runs), Store(folder)
    tasks = in_order(made.tasks())
    calls: dict[str, Callable[[], object]] = {
        "has": lambda: all(map(store.has, tasks)) or 1 / 0,
        "plan": lambda: planning.plan(tasks, store, "cpu"),
        "tables": lambda: tables.read(made, store),
        "page": lambda: report.write(made, store, folder.with_name("page")),
    }
    print(call, json.dumps(measured(calls[call])), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--checkpoint", type=int, default=30_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--calls", nargs="+", default=["has", "plan", "tables"])
    parser.add_argument("--call")
    settings = parser.parse_args()
    if settings.call:
        main(settings.runs, settings.folder, settings.call)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = settings.folder or Path(scratch, "store")
            if not Store(folder).exists():
                fill(Store(folder), study(settings.runs), settings.checkpoint)
            for call in settings.calls:
                options = ["--runs", str(settings.runs), "--folder", str(folder), "--call", call]
                subprocess.run([sys.executable, "-m", "benchmarks.stores", *options], check=True)
