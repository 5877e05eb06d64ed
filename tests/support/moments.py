"""States within small trainings, and the same states by an uninterrupted training."""

from __future__ import annotations

from collections.abc import Callable

import torch

from linescape.geometry.state import State
from linescape.recipe import MLP, Data, Optimizer, Recipe, ResNet, Schedule
from linescape.studies import job
from linescape.studies.store import Store
from linescape.studies.study import Keep, Moment, Task
from linescape.training.initialisation import draw
from linescape.training.loop import Checkpoint, train

FLAT = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(lr=0.1, batch_size=20), Schedule(4))  # of 5 steps


IMAGES = Recipe(
    Data("fashion-mini", size=8, fraction=0.02, augment="crop-flip", mixup=0.2),
    ResNet(8, 4),
    Optimizer("adamw", lr=0.01, batch_size=64, weight_decay=5e-4),
    Schedule(3, "cosine"),  # of 4 steps
)


def keep(recipe: Recipe, at: str, number: int) -> Keep:
    return Keep(Moment(recipe, at, number))  # type: ignore[arg-type]


def by_hand(recipe: Recipe, step: int, start: Checkpoint | None = None) -> Checkpoint:
    """An uninterrupted training, stopped there."""
    dataset = job.load(recipe.data, recipe.seed)
    with job.one_thread("cpu"):
        start = start or Checkpoint(State.from_module(draw(recipe, dataset.shape, dataset.classes)))
        return next(p.checkpoint() for p in train(recipe, dataset, start) if p.step == step)


def same(left: State, right: State) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def is_by_hand(store: Store, task: Keep, step: int, start: Checkpoint | None = None) -> bool:
    kept, expected = store.checkpoint(task.moment), by_hand(task.recipe, step, start)
    assert (kept.step, kept.optimizer.keys()) == (step, expected.optimizer.keys())
    momenta = all(torch.equal(kept.optimizer[name], value) for name, value in expected.optimizer.items())
    return same(kept.state, expected.state) and momenta


def files(store: Store, task: Task) -> dict[str, tuple[bytes, int]]:
    found = (path for path in store.folder(task).iterdir() if path.is_file() and path.name != ".lock")
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def stop_after(share: float) -> Callable[[float], None]:
    def stop(done: float) -> None:
        if done > share:
            raise KeyboardInterrupt

    return stop
