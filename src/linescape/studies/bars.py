"""What a terminal shows of a run: a bar for all tasks, with the time left, and one for what is being done."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from linescape.studies.planning import counted, duration
from linescape.studies.schedule import Unit, Watch
from linescape.studies.store import Store
from linescape.studies.tasks import Task, describe
from linescape.studies.time_left import TimeLeft


class Bars(Watch, AbstractContextManager["Bars"]):
    """The bars of a run.

    Args:
        shown: whether they are drawn, where standard error is a terminal.
        missing: the tasks that are to be done.
        total: the number of all tasks.
        workers: units that are done at once.
        store, device: of the run.
    """

    def __init__(
        self, shown: bool, missing: Iterable[Task], total: int, workers: int, store: Store, device: str
    ) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self.console = Console(stderr=True)
        tasks = list(missing)
        self.shown = shown and bool(tasks) and self.console.is_terminal
        self.bars = Progress(*columns, console=self.console, transient=True, disable=not self.shown)
        self.all = self.bars.add_task("all", total=total, completed=total - len(tasks), note="")
        self.current = self.bars.add_task("now", total=1.0, note="")
        self.workers = max(workers, 1)
        self.left = TimeLeft(counted(tasks, store, device) if self.shown else {})

    def __enter__(self) -> Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def begin(self, unit: Unit) -> None:
        """Show a unit that begins."""
        if self.shown:
            self.left.begin(unit)
            self._show(unit, 0.0)

    def report(self, unit: Unit, share: float) -> None:
        """Show the share of a unit that is done."""
        if self.shown:
            self.left.report(unit, share)
            self._show(unit, share)

    def end(self, unit: Unit, done: bool) -> None:
        """Show that a unit has ended."""
        if self.shown:
            self.left.end(unit, done)
            self._show_left()

    def settle(self, task: Task) -> None:
        """Show that a task is settled."""
        self.bars.advance(self.all)
        self.left.settle(task)

    def say(self, words: str) -> None:
        """Print a sentence."""
        self.console.print(words, markup=False, highlight=False, soft_wrap=True)

    def _show(self, unit: Unit, share: float) -> None:
        others = len(self.left.running) - 1
        part = f", part {unit.part[0] + 1} of {unit.part[1]}" if unit.part else ""
        note = describe(unit.task) + part + (f", and {others} more at once" if others else "")
        self.bars.update(self.current, completed=share, note=note)
        self._show_left()

    def _show_left(self) -> None:
        seconds = self.left.seconds()
        note = "" if seconds is None else f"about {duration(seconds / self.workers)} left"
        self.bars.update(self.all, note=note)
