"""Errors by class along lines, as tasks: from the values of each example that a walked line has, in one piece."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from torch import nn

from linescape import data, models
from linescape.geometry.state import State
from linescape.interpolation.by_class import class_errors
from linescape.recipe import Recipe
from linescape.studies.job import Declined, Job
from linescape.studies.kinds.kind import Asked, Kind, Part
from linescape.studies.kinds.line import opened
from linescape.studies.measurements import Classes
from linescape.studies.tasks import Task
from linescape.studies.workloads import Cost, beginning


def _do(task: Classes, job: Job, _: Collection[Task], _part: Part | None) -> None:
    job, dataset, ends = opened(task, job)
    biases = last_biases(task.recipe, ends["end"])
    errors = job.store.curve(task.line)["train", "error", task.line.batchnorm[0]]
    targets = dataset.train.take(task.line.train_examples).targets.numpy()  # in the order in which a line has them
    found = class_errors(errors.alphas, errors.values, targets, biases)
    job.store.save(task, {task.file: found.to_bytes()}, job.record())


def last_biases(recipe: Recipe, state: State) -> np.ndarray:
    """The biases of a network's last linear layer ``(classes,)``.

    Raises:
        Declined: it has none, or is not one with an output for each class.
    """
    shape, classes = data.form(recipe.data)
    network = models.outline(recipe.model, shape, classes)
    linear = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    name = next(reversed(linear), "")
    if not linear or linear[name].out_features != classes or linear[name].bias is None:
        raise Declined("The network does not end in a linear layer with a bias for each class.")
    return state[f"{name}.bias"].cpu().double().numpy()


def _cost(task: Classes, _device: str, _: Asked) -> Cost:
    classes = data.form(task.recipe.data)[1]
    return Cost({}, beginning(task.recipe), (task.line.alphas + 3) * classes * 8)


KIND = Kind(Classes, _do, _cost)
