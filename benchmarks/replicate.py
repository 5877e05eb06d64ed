"""The replication of Vlaar & Frankle (2022) that two cores can do: CIFAR-10, ResNet-18 of width 16, seed by seed.

    python -m benchmarks.replicate --store FOLDER [--results FOLDER] [--workers N]

Trains the arms of `vlaar2022` at the scales ``cifar10-narrow-30`` (three seeds, then up to five) and ``cifar10-narrow``
(three seeds), each with its whole and layer-wise lines. It may be killed at any moment and started again: the store
keeps every snapshot and every point of a line. As soon as a run is complete, its log, curves and numbers are written to
RESULTS/SCALE/ARM-SEED/, which is all that is kept in the repository. A run whose results stand there is not done again
on another machine, unless a later one starts from its checkpoint. `make replicate` starts this from an installation
of its own; docs/replication.md says what was found.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from benchmarks.runs import export, recipe, written
from linescape import data, studies
from linescape.recipe import Data
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Study, Task

RESULTS = Path(__file__).parent / "results" / "cifar10-narrow"
PARTS = (("cifar10-narrow-30", range(3)), ("cifar10-narrow-30", range(3, 5)), ("cifar10-narrow", range(3)))
"""Scales and seeds, in the order in which they are done."""

POLL_SECONDS = 30.0
AUTOGROUP = Path("/proc/self/autogroup")


def runs() -> Iterator[tuple[str, Study]]:
    """Each run as a study of one arm and one seed, with its scale, in the order in which they are done."""
    for scale, seeds in PARTS:
        whole = studies.find("vlaar2022", scale)
        for seed in seeds:
            for arm in whole.arms:
                yield scale, whole.only(arm.name, seeds=(seed,))


def export_complete(results: Path, store: Store) -> None:
    """Write the results of every run that is complete and not written yet."""
    for scale, run in runs():
        if not written(results, scale, run) and all(map(store.has, run.tasks())):
            export(results, scale, run, store)
            print(f"{scale}: {run.arms[0].name}, seed {recipe(run).seed} is complete", flush=True)


def share_as_nice() -> None:
    """Where nobody watches, let the whole session give way as much as this process.

    Linux shares the cores between sessions first, and niceness counts only within one (sched(7), autogroups): a session
    of its own takes an equal share at niceness 19 too.
    """
    if not os.isatty(0):
        with suppress(OSError):  # another system, or a session of another user
            AUTOGROUP.write_text(str(os.nice(0)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True, help="folder of checkpoints and curves")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of what is kept")
    parser.add_argument("--workers", type=int, default=None, help="processes; by default one a core")
    arguments = parser.parse_args()
    data.load(Data("cifar10"), 0)  # an error at once, with what to do, where it is not here
    share_as_nice()
    store, results = Store(arguments.store), arguments.results
    missing: list[Task] = []
    for scale, run in runs():
        if not written(results, scale, run):
            missing += run.tasks()
    print(f"process {os.getpid()}: {len(missing)} tasks to do, results go to {results}", flush=True)
    ended = Event()

    def keep_exporting() -> None:
        while not ended.wait(POLL_SECONDS):
            export_complete(results, store)

    exporter = Thread(target=keep_exporting, daemon=True)
    exporter.start()
    outcome = work(missing, store, progress=False, workers=arguments.workers)
    ended.set()
    exporter.join()
    export_complete(results, store)
    print(outcome, flush=True)


if __name__ == "__main__":
    main()
