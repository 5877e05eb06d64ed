"""What the tables need of a place with results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import polars as pl

from linescape.geometry.moved import Move
from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import Recipe
from linescape.studies.study import Measurement, Moment, Scan, Task


class Source(Protocol):
    """A place with results: the reading part of `linescape.studies.store.Store`."""

    @property
    def damaged(self) -> Mapping[Task, str]:
        """Tasks whose results are not what was written, as `has` finds out, and why; they count as missing."""

    def has(self, task: Task) -> bool:
        """Whether a task is settled: done, or declined."""

    def each_record_once(self) -> AbstractContextManager[None]:
        """Within it, the notes on each task are read once."""

    def declined(self, task: Task) -> str | None:
        """Why a settled task was not done and never will be; None if it was."""

    def diverged(self, recipe: Recipe) -> bool:
        """Whether a finished training ended in NaN or infinity."""

    def record(self, task: Task) -> dict[str, Any]:
        """The notes on a settled task, such as ``seconds``."""

    def curve(self, scan: Scan) -> Curve:
        """The curve of a scan that is done."""

    def measured(self, task: Measurement) -> Any:
        """What was measured, of `Measurement.form`; asked for only where a run has such."""

    def moves(self, recipe: Recipe) -> Mapping[str, Move]:
        """How far a training that is done moved each parameter."""

    def state(self, moment: Moment) -> State:
        """The state at a moment of a training that is done; asked for only where a run says what it kept."""

    def log(self, recipe: Recipe) -> pl.DataFrame:
        """A row for each epoch of a training that is done."""
