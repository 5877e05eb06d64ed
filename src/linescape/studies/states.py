"""States of trainings: those that are kept in a store, and the starts that follow from a recipe."""

from __future__ import annotations

import math

from msgspec.structs import replace
from torch import Tensor, nn

from linescape.data import Dataset
from linescape.errors import RecipeError
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import Midway, Moment, OnCurve, Random, Recipe, Remaining, Subspace, Trained, Weights, derive_seed
from linescape.shape import TOLERANCE, hump
from linescape.studies.job import Declined, load
from linescape.studies.store import Store
from linescape.studies.tasks import Train, hump_line
from linescape.training.initialisation import at_barrier, carried_over, draw, from_file
from linescape.training.loop import Checkpoint, steps_per_epoch
from linescape.training.pruning import prunable, remaining, without
from linescape.training.what_is_trained import OfCurve, OfRemaining, OfSubspace, WhatIsTrained


def state(moment: Moment, store: Store) -> State:
    """A state of a training; a start is computed anew where its training was not done.

    Raises:
        StoreError: the training that it comes from is missing or damaged.
    """
    task = Train(moment.recipe)
    if moment.at != "start" or (store.has(task) and store.declined(task) is None):
        return store.state(moment)
    return _checkpoint(moment, store).state


def _checkpoint(moment: Moment, store: Store) -> Checkpoint:
    """A state of a training with its step and its optimizer's state."""
    if moment.at != "start":
        return store.checkpoint(moment)
    dataset = load(moment.recipe.data, moment.recipe.seed)
    return theta_0(moment.recipe, draw(moment.recipe, dataset.shape, dataset.classes), store)


def steps_in_epoch(recipe: Recipe, dataset: Dataset) -> int:
    """Steps in an epoch of a training."""
    return steps_per_epoch(len(dataset.train), recipe.optimizer.batch_size)


def theta_0(recipe: Recipe, network: nn.Module, store: Store) -> Checkpoint:
    """Where a training starts, without what is pruned.

    Args:
        recipe: of the training; what it starts from must be settled.
        network: its network as drawn, which is only read.
        store: where it is read.

    Raises:
        StoreError: what it starts from is missing or damaged.
        RecipeError: it cannot start or go on from there.
    """
    start = _start(recipe, network, store)
    if isinstance(recipe.trains, Remaining):
        return without(start, _left(recipe.trains, network, store))
    return start


def _left(trains: Remaining, network: nn.Module, store: Store) -> dict[str, Tensor]:
    """Which weights are left of those that are pruned together."""
    return remaining(state(trains.by, store), prunable(network), trains.density)


def _start(recipe: Recipe, network: nn.Module, store: Store) -> Checkpoint:
    init = recipe.init
    if isinstance(init, Random):
        return Checkpoint(State.from_module(network))
    if isinstance(init, Weights):
        return Checkpoint(from_file(init, network))
    if isinstance(init, Trained):
        source = _checkpoint(init.moment, store)
        own = state(Moment(init.recipe, "start"), store) if init.to == "own" else source.state
        start = carried_over(init, network, own, source)
        _check_continues(recipe, init.recipe, start.step)
        return start
    if isinstance(init, Midway):
        return Checkpoint(Line(*_ends(init, store)).at(0.5))
    ends = store.state(Moment(init.recipe, "start")), store.state(Moment(init.recipe))
    series = store.curve(hump_line(init.recipe))["train", "cross_entropy"]
    height = float(hump(series.alphas, series.mean))
    if math.isnan(height):
        raise Declined("The training was not started: the loss is NaN somewhere on the line whose hump it starts from.")
    if height <= TOLERANCE:
        raise Declined(
            f"The training was not started: it starts at the top of a hump, but on this run's line the training loss "
            f"has none above {TOLERANCE:g} nats (the highest is {height:.3f})."
        )
    return Checkpoint(at_barrier(*ends, series.alphas, series.mean))


def what_is_trained(recipe: Recipe, network: nn.Module, start: State, store: Store) -> WhatIsTrained:
    """How the network's weights follow from what a recipe trains.

    Args:
        recipe: of the training.
        network: its network, which is only read.
        start: where it starts.
        store: where what it depends on is read.

    Raises:
        StoreError: a state that it depends on is missing or damaged.
    """
    if isinstance(recipe.trains, OnCurve):
        assert isinstance(recipe.init, Midway)  # `recipe.Recipe` asks for it
        return OfCurve(*_ends(recipe.init, store), recipe.trains.kind)
    if isinstance(recipe.trains, Subspace):
        return OfSubspace(start, recipe.trains, derive_seed(replace(recipe, order_seed=0), "projection"))
    if isinstance(recipe.trains, Remaining):
        return OfRemaining(_left(recipe.trains, network, store))
    return WhatIsTrained()


def _ends(init: Midway, store: Store) -> tuple[State, State]:
    return state(init.first, store), state(init.second, store)


def _check_continues(recipe: Recipe, other: Recipe, step: int) -> None:
    """Raise `RecipeError` if a training cannot go on after a step of another with its own schedule."""
    if not step:
        return
    ours, theirs = (steps_in_epoch(each, load(each.data, each.seed)) for each in (recipe, other))
    if ours != theirs:
        raise RecipeError(
            f"The schedule of another training is continued after step {step}, but an epoch has {ours} steps here and "
            f"{theirs} there, so its epochs would be others. Give both as many examples and the same batch size, or "
            "begin a new schedule."
        )
    if step > ours * recipe.schedule.epochs:
        raise RecipeError(
            f"The schedule of another training is continued after step {step}, but it has only "
            f"{ours * recipe.schedule.epochs}. Give more epochs, or begin a new schedule."
        )
