"""Where a store keeps what, by names that are relative to it. KEY is the task's key, so equal tasks share a result.

linescape.json               marks the folder
train/KEY/task.json          what was done, as a recipe in words
          start.safetensors, end.safetensors, optimizer.safetensors, log.parquet
          done.json          written last: the key, checksums, what computed it, seconds
          verified.json      what the files looked like when all their bytes were as they should be
          resume.safetensors               while it trains
train/KEY/step-100/, epoch-3/, best/       states within it: task.json, state.safetensors, optimizer.safetensors,
          done.json, verified.json; resume.safetensors  while it is not known whether it is the training's
scan/KEY/task.json, curve.safetensors, done.json, verified.json
         points/ALPHA.safetensors          while it walks
"""

from __future__ import annotations

import re
from functools import cache

from linescape.recipe import Recipe
from linescape.studies.study import Keep, Moment, Task, Train

MARK, TASK, DONE, VERIFIED = "linescape.json", "task.json", "done.json", "verified.json"
SNAPSHOT, POINTS = "resume.safetensors", "points"

RESULT = re.compile("(train|scan)/[0-9a-f]{16}|train/[0-9a-f]{16}/((step|epoch)-[1-9][0-9]*|best)")
"""Names of the folders of results."""

RESULT_FILE = re.compile(rf"({RESULT.pattern})/[a-z]+[.](json|safetensors|parquet)")
"""Names of the files of results."""


@cache
def key_of(task: Task) -> str:
    """The task's key; computing the hash takes long, and it is needed many times."""
    return task.key


def folder_of(task: Task) -> str:
    """The folder of a task's files."""
    if isinstance(task, Keep):
        moment = task.moment
        name = moment.at if moment.number is None else f"{moment.at}-{moment.number}"
        return f"{folder_of(Train(task.recipe))}/{name}"
    return f"{'train' if isinstance(task, Train) else 'scan'}/{key_of(task)}"


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
    if isinstance(task, Keep):
        state = "best state" if task.moment.at == "best" else f"state after {task.moment}"
        return f"the {state} of the training {key_of(Train(task.recipe))}"
    return f"the {'training' if isinstance(task, Train) else 'line'} {key_of(task)}"
