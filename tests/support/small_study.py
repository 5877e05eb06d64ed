"""A study of seconds: two arms, three lines each, and what a store says of it."""

from __future__ import annotations

from msgspec.structs import replace

from linescape.recipe import MLP, Data, Optimizer, Recipe, ResNet, Schedule
from linescape.studies.store import Store
from linescape.studies.study import Arm, Keep, Moment, Run, Scan, Study, Task, Train
from linescape.training import interventions as change

BASE = Recipe(
    Data("fashion-mini", size=8, fraction=0.01, augment="crop-flip"),
    ResNet(8, 4),
    Optimizer(batch_size=32, weight_decay=5e-4),
    Schedule(2),
)


FLAT = Recipe(Data("spiral", fraction=0.05), MLP((8,)), Optimizer(lr=0.1, batch_size=50), Schedule(2))


def whole(recipe: Recipe, **changes: object) -> Scan:
    return replace(Scan(Moment(recipe, "start"), Moment(recipe), alphas=4, train_examples=20), **changes)


def study() -> Study:
    """Two arms: a network with BatchNorm and augmentation, and its partial pre-training."""
    arms = []
    for name, recipe in (("base", BASE), ("partial", change.partial(BASE, "layer1", optimizer="kept"))):
        lines = {"whole": whole(recipe), "fc": whole(recipe, block="fc", batchnorm=("interpolate", "recalibrate"))}
        arms.append(Arm(name, "base", name, (Run(recipe, lines),)))
    return Study("test", "tiny", "a study", "nowhere", tuple(arms))


def results(store: Store, tasks: tuple[Task, ...]) -> dict[str, object]:
    """Everything that a store says of tasks, without times and records."""
    assert all(map(store.has, tasks))
    return {name: value for task in tasks for name, value in result(store, task).items()}


def result(store: Store, task: Task) -> dict[str, object]:
    """What a store has of a task that was done, without times and its record."""
    if isinstance(task, Train | Keep):
        names = ("start", "end", "optimizer") if isinstance(task, Train) else ("state", "optimizer")
        files = {name: (store.folder(task) / f"{name}.safetensors").read_bytes() for name in names}
        log = {"log": repr(store.log(task.recipe).drop("seconds").rows())} if isinstance(task, Train) else {}
        return {f"{task.key} {name}": value for name, value in {**files, **log}.items()}
    if isinstance(task, Scan):
        curve = store.curve(task)
        values = {f"{task.key} {key}": values.tobytes() for key, values in curve.values.items()}
        return {f"{task.key} alphas": curve.alphas.tobytes(), **values}
    return {}
