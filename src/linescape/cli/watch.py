"""The command that watches the run of a study from another terminal."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from linescape.cli.consoles import stdout
from linescape.cli.studies import WHOLE, Selection, existing
from linescape.errors import UnfinishedError, plural, printable

if TYPE_CHECKING:  # what needs torch is imported where it is used, so that help is quick
    from linescape.studies.tasks import Task
    from linescape.studies.watching import Observer, Progress

PAUSE = 1.0
"""Seconds between two looks at least; more where a look takes long, so that at most a fifth of the time goes there."""

SHOWN = 8
"""Tasks that are named at once."""


def watch_study(name: str, selection: Selection = WHOLE) -> dict[str, Any]:
    """Show the progress of a running study.

    What is done, what runs now and what failed, from another terminal; the results are only read. Ends when nothing is
    left to do, with exit code 3 if tasks failed; Ctrl-C ends it before, and the run goes on. Where the output is no
    terminal, each change is a line.

    Args:
        name: the study that runs; of your own file.py, which defines study, or file.py:name.
        selection: the part of it, and the folder of its results, as of study run.
    """
    from linescape.studies.watching import Observer

    command = shlex.join(["linescape", "study", "run", *selection.words(name)])
    observer = Observer(selection.study(name), existing(selection.store, "watch"))
    try:
        last = _follow(observer, command)
    except KeyboardInterrupt:
        sys.exit(130)  # without the words of what was interrupted, as the run was not
    return _ended(last, command)


def _follow(observer: Observer, command: str) -> Progress:
    """Show each state until nothing is left to do; the last one."""
    if not stdout.is_terminal:
        said: object = None
        for progress in _states(observer):
            state = len(progress.done), tuple(progress.running), len(progress.failed)
            if state != said:
                stdout.print(line_of(progress), soft_wrap=True)
            said = state
        return progress
    with Live(console=stdout, auto_refresh=False) as live:
        for progress in _states(observer):
            live.update(picture_of(progress, command), refresh=True)
    return progress


def _states(observer: Observer) -> Iterator[Progress]:
    progress, pause = observer.look(), PAUSE  # the first look takes seconds, as it imports what an estimate needs
    yield progress
    while not progress.is_over:
        time.sleep(pause)
        began = time.monotonic()
        progress = observer.look()
        pause = max(PAUSE, 4 * (time.monotonic() - began))
        yield progress


def line_of(progress: Progress) -> str:
    """A state in a line of text."""
    counts = {what: len(getattr(progress, what)) for what in ("running", "waiting", "failed")}
    parts = [
        f"{len(progress.done)} of {progress.total} tasks done",
        *(f"{n} {what}" for what, n in counts.items() if n),
    ]
    now = f": {'; '.join(_named(progress))}" if progress.running else ""
    return ", ".join(parts) + now + _left(progress)


def picture_of(progress: Progress, command: str) -> Group:
    """A state for a terminal: how many tasks of each kind, what runs now, and what failed."""
    bar = ProgressBar(progress.total, len(progress.done), width=40, complete_style="green")
    whole = Table.grid(padding=(0, 1))
    whole.add_row(bar, Text(f"{len(progress.done)} of {progress.total} tasks done{_left(progress)}"))
    return Group(_table(progress), whole, *(Text(printable(line)) for line in _notes(progress, command)))


def _table(progress: Progress) -> Table:
    states = {
        "done": progress.done,
        "running": progress.running,
        "waiting": progress.waiting,
        "failed": progress.failed,
    }
    table = Table("", *(Column(state, justify="right") for state in states), box=None)
    kinds = dict.fromkeys(_kind(task) for tasks in states.values() for task in tasks)
    for kind in kinds:
        table.add_row(kind, *(str(sum(_kind(task) == kind for task in tasks)) for tasks in states.values()))
    return table


def _kind(task: Task) -> str:
    return "state within a training" if task.inside else task.result.removeprefix("the ")


def _notes(progress: Progress, command: str) -> Iterator[str]:
    """What runs now, what failed, and what to do where nobody works."""
    yield from (f"now: {words}" for words in _named(progress))
    causes = {task: reason for task, reason in progress.failed.items() if not progress.failed.keys() & {*task.needs()}}
    for task, reason in islice(causes.items(), SHOWN):
        yield f"failed: {_describe(task)}: {_last_line(reason)}"
    if (others := len(progress.failed) - min(len(causes), SHOWN)) > 0:
        yield f"failed: {others} more, {len(progress.failed) - len(causes)} of which need one that failed"
    if progress.waiting and not progress.running:
        begun = f", {len(progress.begun)} of them begun" if progress.begun else ""
        yield f"No process works on it now; {len(progress.waiting)} tasks wait{begun}. To go on: {command}"


def _named(progress: Progress) -> Iterable[str]:
    """The tasks that run, the first ones by name."""
    for task, share in islice(progress.running.items(), SHOWN):
        yield _describe(task) + (f", {share:.0%}" if share is not None else "")
    if (others := len(progress.running) - SHOWN) > 0:
        yield f"and {others} more"


def _describe(task: Task) -> str:
    from linescape.studies.tasks import describe

    return describe(task)


def _last_line(reason: str) -> str:
    """Where a traceback says what happened."""
    return reason.strip().rpartition("\n")[2]


def _left(progress: Progress) -> str:
    from linescape.studies.planning import duration

    return "" if progress.seconds_left is None else f" (about {duration(progress.seconds_left)} left)"


def _ended(progress: Progress, command: str) -> dict[str, Any]:
    result = {what: len(getattr(progress, what)) for what in ("done", "running", "waiting", "failed")}
    if progress.failed:
        task, reason = next(iter(progress.failed.items()))
        raise UnfinishedError(
            f"{plural(len(progress.failed), 'task')} failed when last tried. To try again: {command}. The first, "
            f"{_describe(task)}: {_last_line(reason)}",
            result,
        )
    return result
