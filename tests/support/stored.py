"""A store with a training and a line in it, made up."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch

from linescape.geometry.state import State
from linescape.interpolation.curve import Curve
from linescape.recipe import (
    MLP,
    Data,
    Recipe,
    Schedule,
)
from linescape.studies.store import LOG, Row, Store
from linescape.studies.study import Task, Train, hump_line
from linescape.training.loop import Checkpoint

PLAIN = Recipe(Data("digits"), MLP((3,)), schedule=Schedule(2))


TASK = Train(PLAIN)


LINE = hump_line(PLAIN)


ROWS: list[Row] = [
    dict(zip(LOG, (0, 2.0, 90.0, None, None, 0.1, 1.5), strict=True)),
    dict(zip(LOG, (1, math.nan, 100.0, math.inf, 100.0, 0.1, 1.5), strict=True)),
]


STATE = State(
    {"w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([0.1, math.nan])},
    {"mean": torch.ones(2), "count": torch.tensor(7)},
    {"tied": "w"},
)


END = Checkpoint(STATE, 12, {"momentum_buffer/w": torch.ones(2, 3)}, loss_sum=0.1 + 0.2, wrong=3, seen=5)


CURVE = Curve(np.array([0.0, 1.0]), {("test", "error", "interpolate"): np.array([[1.0, 2], [np.nan, 4]])}, {"a": 1})


def same(left: State, right: State) -> bool:
    assert list(left) == list(right)
    assert (list(left.buffers), dict(left.tied)) == (list(right.buffers), dict(right.tied))
    return all(torch.equal(left[name].nan_to_num(5.5), right[name].nan_to_num(5.5)) for name in left)


def fill(root: Path) -> Store:
    store = Store(root)
    store.save_training(TASK, STATE, END, ROWS, {"seconds": 1.0, "diverged": True})
    store.save_curve(LINE, CURVE, {"seconds": 2.0})
    return store


def earlier(store: Store, task: Task) -> None:
    """Make a record as it was before records had a digest."""
    path = store.folder(task) / "done.json"
    record = json.loads(path.read_bytes())
    del record["task"], record["digest"]
    record.pop("moves", None)
    computed = {
        "device": "cpu",
        "compiler": True,
        "versions": {"torch": "2.13.0+cpu"},
        "finished": "2026-11-28T03:49:05",
    }
    path.write_text(json.dumps({**computed, "native_convolutions": False, **record}, indent=1))
