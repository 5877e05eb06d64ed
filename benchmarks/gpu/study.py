"""The source's own setting at full width: Vlaar & Frankle (2022) at the scale ``cifar10``, seed by seed.

All arms of the first seed come first, then those of the second. A call stops by the clock, and the next one goes on
from the store's last snapshot of a training (ten seconds old at most) or point of a line. Each complete run is written
as `benchmarks.replicate` writes its own. A run whose results stand there, of any device, is not done again, unless a
later one starts from its checkpoint; of those the end is kept, to be brought to another machine (`kept`).
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks import runs
from benchmarks.gpu import kept, packing, toy
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.steps import Outcome
from linescape import studies
from linescape.errors import DataError, LinescapeError
from linescape.studies.doing import do
from linescape.studies.store import Store
from linescape.studies.study import Study, Task, Train, in_order
from linescape.studies.tasks import describe

NAME, SCALE = "study", "cifar10"
MARGIN = 5.0
"""Seconds of a call that are left for writing; no task is begun in them."""


class OutOfTime(Exception):  # noqa: N818 - not an error
    """The call is over; what was begun goes on in the next."""


def run(settings: Settings) -> Outcome:
    """Do what is missing while there is time."""
    try:
        place_data(settings)
    except DataError as error:
        print(f"  {error}", flush=True)
        return "failed"
    store, failed = Store(settings.state / "store"), dict[str, str]()
    every = list(wanted(settings))
    starts = kept.starts(every)
    for one in starts:
        if not store.has(Train(runs.recipe(one))) and kept.restore(one, store, settings.state / "kept"):
            print(f"  {runs.name(one)}: the end of its training is restored", flush=True)
    try:
        for one in every:
            if not done(settings, one):
                try:
                    complete(settings, one, store, keep=one in starts)
                except LinescapeError as error:
                    failed[runs.name(one)] = str(error)
                except OutOfTime:
                    raise
                except Exception:  # one run that fails does not keep the others from being done
                    failed[runs.name(one)] = traceback.format_exc()
    except OutOfTime as over:
        print(f"  out of time: {over}", flush=True)
    for line in table(settings, failed):
        print(line, flush=True)
    if failed:
        return "failed"
    return "done" if all(done(settings, one) for one in every) else "to be continued"


def wanted(settings: Settings) -> Iterator[Study]:
    """Each run as a study of one arm and one seed, seeds first to last."""
    whole = studies.find("vlaar2022", SCALE)
    for seed in settings.size.seeds:
        for arm in settings.size.arms:
            one = whole.only(arm, seeds=(seed,))
            yield toy.shrunk(one) if settings.toy else one


def complete(settings: Settings, one: Study, store: Store, keep: bool) -> None:
    """Do the tasks of a run that are missing, and write its results; `keep` its end for another machine.

    Raises:
        OutOfTime: the call is over.
    """
    for task in in_order(one.tasks()):
        if store.has(task):
            continue
        _check(settings, f"{runs.name(one)} goes on with: {describe(task)}")
        with store.claim(task) as held:
            if not held:
                raise OutOfTime(f"another process is at work on {runs.name(one)}")
            do(task, store, settings.device, lambda share, task=task: _stop(settings, one, task, share))  # type: ignore[misc]
        if isinstance(task, Train):
            print(f"  {runs.name(one)}: {describe(task)}, {store.record(task)['seconds']:.0f} s", flush=True)
            if keep and task == Train(runs.recipe(one)):
                kept.keep(one, store, settings.state / "kept")
    results = settings.state / "results"
    runs.export(results, SCALE, one, store)
    shutil.copytree(runs.folder(results, SCALE, one), runs.folder(settings.out, SCALE, one), dirs_exist_ok=True)


def done(settings: Settings, one: Study) -> bool:
    """Whether the results of a run stand among those of this device or of another."""
    folders = [settings.state / "results", settings.out, *settings.out.parent.glob("*/")]
    return any(runs.written(folder, SCALE, one) for folder in folders)


def place_data(settings: Settings) -> None:
    """Make the set whole from its parts in STATE/parts, unless it is among the user's data sets.

    Raises:
        DataError: it is neither there nor are all its parts.
    """
    parts, to = settings.state / "parts", settings.state / "data"
    if settings.toy:  # the same with bytes of our own
        files = {"a": os.urandom(2000), "b": b"b" * 3000}
        packing.pack_files(files, parts, part_bytes=1000)
        shutil.rmtree(to, ignore_errors=True)
        packing.join(parts, to / "toy")
        assert {file.name: file.read_bytes() for file in (to / "toy").iterdir()} == files
        return
    if not (to / packing.NAME).is_dir():
        if not (parts / packing.MANIFEST).exists() and packing.at_hand():
            return
        packing.join(parts, to / packing.NAME)
    os.environ["LINESCAPE_DATA"] = str(to)


def table(settings: Settings, failed: dict[str, str]) -> Iterator[str]:
    """A line a run: its test error, the hump of its whole line, and how long it trained."""
    for one in wanted(settings):
        name = runs.name(one)
        if name in failed:
            yield f"  {name:24}failed: {failed[name].strip().splitlines()[-1]}"
        elif not done(settings, one):
            yield f"  {name:24}not done yet"
        else:
            folder = runs.folder(settings.state / "results", SCALE, one)
            yield f"  {name:24}{_words(folder) if folder.is_dir() else 'done on another machine'}"


def _words(folder: Path) -> str:
    log = pl.read_csv(folder / "log.csv")
    heights = pl.read_csv(folder / "heights.csv", infer_schema_length=None).filter(
        (pl.col("label") == "whole") & (pl.col("data") == "test") & (pl.col("number") == "hump")
    )
    error, seconds = log["test_error"].drop_nulls()[-1], log["seconds"].sum()
    rise = "" if heights.is_empty() else f", hump {heights['value'][0]:.3f} nats"
    return f"test error {error:.2f} %{rise}, trained in {seconds:.0f} s"


def _check(settings: Settings, what: str) -> None:
    if settings.seconds_left < MARGIN:
        raise OutOfTime(what)


def _stop(settings: Settings, one: Study, task: Task, share: float) -> None:
    if share < 1.0:  # what is complete is written
        _check(settings, f"{runs.name(one)} goes on with: {describe(task)}, {share:.0%} done")
