"""Where a store keeps what, by names that are relative to it. KEY is the task's key, so equal tasks share a result.

linescape.json               marks the folder
train/KEY/task.json          what was done, as a recipe in words
          start.safetensors, end.safetensors, optimizer.safetensors, log.parquet
          done.json          written last: the key, checksums, what computed it, seconds
          verified.json      what the files looked like when all their bytes were as they should be
          resume.safetensors               while it trains
          failed.json                      why it failed when it was last tried, and so for every kind
train/KEY/step-100/, epoch-3/, best/       states within it: task.json, state.safetensors, optimizer.safetensors,
          done.json, verified.json; resume.safetensors  while it is not known whether it is the training's
scan/KEY/task.json, curve.safetensors, done.json, verified.json         and so for other kinds, by their tags
         points/ALPHA.safetensors          while it walks
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from linescape.recipe import Moment, Recipe
from linescape.studies.tasks import Keep, Task, Train, known_kinds

MARK, TASK, DONE, VERIFIED = "linescape.json", "task.json", "done.json", "verified.json"
FAILED = "failed.json"
SNAPSHOT, POINTS = "resume.safetensors", "points"

RESULT = re.compile("[a-z]+/[0-9a-f]{16}|train/[0-9a-f]{16}/((step|epoch)-[1-9][0-9]*|best)")
"""Names of the folders of results."""

RESULT_FILE = re.compile(rf"({RESULT.pattern})/[a-z]+[.](json|safetensors|parquet)")
"""Names of the files of results."""


@cache
def key_of(task: Task) -> str:
    """The task's key; computing the hash takes long, and it is needed many times."""
    return task.key


def folder_of(task: Task) -> str:
    """The folder of a task's files."""
    if task.inside:
        return f"{folder_of(task.maker)}/{task.inside}"
    return f"{task.__struct_config__.tag}/{key_of(task)}"


def is_own(folder: str, names: Iterable[str]) -> bool:
    """Whether a folder is one of a store's own, or within one; if it is of no known kind, by the names in it."""
    kind, _, rest = folder.partition("/")
    if kind in {known.__struct_config__.tag for known in known_kinds()}:
        return True
    return any(RESULT.fullmatch(f"{kind}/{name.split('/')[0]}") for name in ([rest] if rest else names))


def lock_of(folder: str) -> str:
    """The folder whose lock that of a task has: the states within a training have one with it."""
    return "/".join(folder.split("/")[:2])


def state_file(moment: Moment) -> tuple[Train | Keep, str]:
    """The task that makes a state, and the name of its file."""
    if moment.at in ("start", "end"):
        return Train(moment.recipe), f"{moment.at}.safetensors"
    return Keep(moment), "state.safetensors"


def kept_state(recipe: Recipe, folder: str) -> Keep | None:
    """The state within a training that a folder in the training's is of; None for another folder."""
    match = re.fullmatch("(step|epoch)-([1-9][0-9]*)", folder)
    return Keep(Moment(recipe, "step" if match[1] == "step" else "epoch", int(match[2]))) if match else None


def words(task: Task) -> str:
    """What a task's result is, in a message."""
    return f"{task.result} {key_of(task.maker)}"
