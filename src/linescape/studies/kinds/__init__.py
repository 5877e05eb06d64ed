"""The kinds of tasks, a module for each: the one table that says how each is done and what it costs."""

from __future__ import annotations

from typing import Any

from linescape.studies.kinds import classes, features, flatness, greedy, line, noise, plane, state, training, turning
from linescape.studies.kinds.kind import Kind
from linescape.studies.tasks import Task

_BETWEEN: tuple[Kind[Any], ...] = (
    line.KIND,
    noise.KIND,
    features.KIND,
    turning.KIND,
    plane.KIND,
    flatness.KIND,
    classes.KIND,
    greedy.KIND,
)
_ALL: tuple[Kind[Any], ...] = (training.KIND, state.KIND, *_BETWEEN)
KINDS: dict[type[Task], Kind[Any]] = {kind.task: kind for kind in _ALL}
"""What `kind_of` looks up."""


def kind_of(task: Task) -> Kind[Any]:
    """The kind of a task."""
    return KINDS[type(task)]
