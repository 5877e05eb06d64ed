"""Run by tests/studies: does one study whole, again under kills, and again by two processes at once.

A child is killed before its n-th rename, so in the middle of a training, of a walk or of writing a result; n grows from
life to life, or a result of many files would never be whole. Children are forked, so that torch is imported once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # as an optimizer does when it is made, which takes a second in each child
from msgspec.structs import replace

import linescape.studies.executors.anywhere
import linescape.studies.job
import linescape.studies.run
import linescape.studies.trainings
from linescape.recipe import Schedule, Trained
from linescape.studies.doing import do
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Scan, Task, Train, in_order
from tests.support.small_study import BASE, study


def lives(body: Callable[[], None], limit: int | None = None) -> bool:
    """Run in a child that is killed before its n-th rename; whether it lived to the end."""
    child = os.fork()
    if child == 0:
        left, real = [limit], Path.replace

        def replace(self: Path, target: Path) -> Path:
            if left[0] is not None:
                left[0] -= 1
                if left[0] <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)

        Path.replace = replace  # type: ignore[assignment, method-assign]
        try:
            body()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def rounds(what: str) -> tuple[tuple[Task, ...], ...]:
    """Tasks that are done one after the other: a study, or states within one (before and after it), or the best."""
    if what == "study":
        return (study().tasks(),)
    if what == "best":
        held_out = replace(BASE, data=replace(BASE.data, held_out=0.3), schedule=Schedule(4))
        finished = replace(held_out, order_seed=1)
        best = (Keep(Moment(held_out, "best")), Keep(Moment(finished, "best")))
        return (Train(finished),), (*best, Train(held_out))
    line = Scan(Moment(BASE, "step", 1), Moment(BASE, "epoch", 1), alphas=3, train_examples=20, test_examples=40)
    copy = replace(BASE, init=Trained(BASE, at="epoch", number=1, optimizer="kept", schedule="continued"), order_seed=1)
    late = (Keep(Moment(BASE, "step", 3)), Keep(Moment(BASE, "step", 7)), Keep(Moment(copy, "step", 6)))
    return in_order([line]), in_order([Train(BASE), Train(copy)]), late


def main(root: Path, what: str = "study", faster: int = 1) -> None:
    """`faster`: how many times faster the lives grow, and so how many times fewer they are."""
    torch.set_num_threads(1)  # a process with more cannot be forked safely
    linescape.studies.trainings.SNAPSHOT_SECONDS = 0.0
    tasks = rounds(what)
    linescape.studies.job.load(BASE.data, BASE.seed)  # kept, so that each child has it
    assert lives(lambda: count(root / "whole", tasks))
    deaths = 0
    while not lives(lambda: count(root / "killed", tasks), limit=3 + faster * deaths // 2):
        deaths += 1
        assert deaths < 60
    pair = os.fork()
    if pair == 0:
        os._exit(not lives(lambda: count(root / "shared", tasks)))
    assert lives(lambda: count(root / "shared", tasks))
    assert os.waitpid(pair, 0)[1] == 0
    print(json.dumps({"deaths": deaths, "tasks": len({*chain(*tasks)})}))


def count(root: Path, tasks: tuple[tuple[Task, ...], ...]) -> None:
    """Do the tasks, and note how many this process did itself."""
    mine = []

    def noted(task: Task, *rest: Any) -> None:
        do(task, *rest)
        mine.append(task)

    linescape.studies.executors.anywhere.do = noted  # type: ignore[assignment, attr-defined]
    for some in tasks:
        outcome = linescape.studies.run.work(some, Store(root), progress=False, workers=1)
        assert not outcome.failed, outcome.failed
    with (root.parent / f"{root.name}.txt").open("a") as file:
        file.write(f"{len(mine)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
