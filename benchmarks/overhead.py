"""What share of a study's time is not spent in passes through networks, and on what.

    python -m benchmarks.overhead

Some arms of the smallest study are done in a temporary store by one process, whose functions are timed from outside.
Time is counted once, where it is spent: what a part calls of another part counts there. The process's own time and the
time on the wall are told apart: waiting for the disk is only in the second, and so are other programs.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks import results
from linescape import studies
from linescape.studies import run, store

ARMS, RUNS = ("base", "no-weight-decay", "mlp-images"), 2
PASSES = ("steps of training", "measuring")
PARTS: dict[str, tuple[str, ...]] = {
    "steps of training": ("training.step:Step.__call__",),
    "measuring": ("evaluation.evaluator:Evaluator.__call__", "evaluation.evaluator:Evaluator.measure"),
    "augmenting and normalising": ("data.dataset:Dataset.normalise", "training.loop:augment", "training.loop:mix"),
    "making optimizers": ("training.step:Step.__init__",),
    "reading data": ("data:load",),
    "drawing networks": ("models:build", "models:draw"),
    "checking copies and ends": (
        "evaluation.evaluator:Evaluator.start_path",
        "evaluation.evaluator:Evaluator.spot_check",
        "evaluation.evaluator:Evaluator.count_operations",
    ),
    "placing networks": ("evaluation.evaluator:Evaluator.load_position",),
    "writing files": ("atomic:write",),
    "reading files": ("studies.store:Store.read", "studies.store:Store.record", "studies.store:Store.has"),
    "starts, ends, curves": (
        "studies.states:theta_0",
        "studies.states:state",
        "studies.kinds.line:collect",
        "studies.job:measuring",
        "studies.half_done:HalfDone.save_point",
    ),
    "training's own loop": ("studies.trainings:run",),
    "walking's own loop": ("studies.kinds.line:_do",),
}
"""Part -> functions, as module:name within linescape."""


class Watch:
    """Time by part."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}
        self.within = ["importing"]
        self.last = (time.process_time(), time.perf_counter())

    def turn(self) -> None:
        """What passed since the last turn was spent within the present part."""
        now = (time.process_time(), time.perf_counter())
        part = self.spent.setdefault(self.within[-1], [0.0, 0.0])
        for clock in range(2):
            part[clock] += now[clock] - self.last[clock]
        self.last = now

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            self.turn()
            self.within.append(part)
            try:
                return function(*given, **named)
            finally:
                self.turn()
                self.within.pop()

        return timed


def owner_of(where: str) -> tuple[Any, str]:
    """The module or class that a function of `PARTS` is in, and its name there."""
    module, _, name = where.partition(":")
    *owner, name = name.split(".")
    return functools.reduce(getattr, owner, import_module(f"linescape.{module}")), name


def main() -> None:
    watch = Watch()
    for part, functions in PARTS.items():
        for where in functions:
            owner, name = owner_of(where)
            setattr(owner, name, watch.around(part, getattr(owner, name)))
    watch.turn()
    watch.within = ["everything else"]
    tasks = studies.find("vlaar2022", "mini").only(*ARMS, runs=RUNS).tasks()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run.work(tasks, store.Store(folder), progress=False, workers=1)
    watch.turn()
    assert outcome.done == len(tasks), outcome
    total = [sum(part[clock] for part in watch.spent.values()) for clock in range(2)]
    passes = [sum(watch.spent[part][clock] for part in PASSES) for clock in range(2)]
    shares = {
        part: [round(spent[clock] / total[clock], 4) for clock in range(2)] for part, spent in watch.spent.items()
    }
    for part, (own, wall) in sorted(shares.items(), key=lambda item: -item[1][0]):
        print(f"{part:28}{own:8.1%} of the process's time{wall:8.1%} of the wall's")
    outside = [round(1 - passes[clock] / total[clock], 4) for clock in range(2)]
    print(f"{'outside passes':28}{outside[0]:8.1%}{'':22}{outside[1]:8.1%}   ({total[0]:.1f} s and {total[1]:.1f} s)")
    report = {
        "tasks": len(tasks),
        "seconds": {"process": round(total[0], 2), "wall": round(total[1], 2)},
        "outside_passes": {"process": outside[0], "wall": outside[1]},
        "shares": {part: {"process": own, "wall": wall} for part, (own, wall) in shares.items()},
    }
    results.write("overhead", report)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes no arguments but --help
    main()
