"""theta_0: the state in which a training starts, for each kind of `recipe.Init`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from linescape import models
from linescape.errors import RecipeError, suggest
from linescape.geometry.groups import by_block
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.recipe import Random, Recipe, Trained, Weights, derive_seed
from linescape.shape import peak
from linescape.training import weight_files
from linescape.training.loop import Checkpoint


def drawn(recipe: Recipe, shape: tuple[int, ...], classes: int) -> State:
    """A fresh draw, seeded from the recipe; blocks that are set back to ``fresh`` are drawn by the model's own scheme.

    Args:
        recipe: names the model, the seed and, if it starts so, the `Random` scheme.
        shape: of one input, ``(channels, height, width)`` or ``(features,)``.
        classes: outputs of the network.

    Raises:
        RecipeError: the model is impossible.
    """
    scheme = recipe.init if isinstance(recipe.init, Random) else Random()
    return State.from_module(models.draw(recipe.model, shape, classes, scheme, derive_seed(recipe, "init")))


def carried_over(
    recipe: Recipe, init: Trained, shape: tuple[int, ...], classes: int, start: State, end: Checkpoint
) -> Checkpoint:
    """The end of another training with some blocks set back, as step 0 of this one.

    BatchNorm's running statistics come along (Liu et al. 2020 keep them), save in the blocks that are set back with
    `Trained.statistics`. A kept optimizer starts from zeros for the blocks that are set back.

    Args:
        recipe: the training that starts.
        init: its `init`.
        shape: of one input of this training.
        classes: of this training.
        start: the other training's start, for blocks that are set back to their ``own``.
        end: the other training's end.

    Raises:
        RecipeError: a block is unknown, or a block that is not set back does not fit this model and data.
    """
    with torch.device("meta"):
        blocks = by_block(models.build(recipe.model, shape, classes))
    for block in init.reset:
        if block not in blocks:
            raise RecipeError(f"The model has no block {block!r} to set back. {suggest(block, blocks)}")
    fresh = drawn(recipe, shape, classes)
    back = {name for block in init.reset for name in blocks[block]}
    source = fresh if init.to == "fresh" else start
    chosen = {
        name: source.get(name)
        if name in back and (init.statistics or name in fresh.parameters)
        else end.state.get(name)
        for name in fresh
    }
    _check_fit(recipe, fresh, chosen, blocks)
    state = fresh.replace({name: value for name, value in chosen.items() if value is not None})
    return Checkpoint(state, optimizer=_kept(end.optimizer, back) if init.optimizer == "kept" else {})


def from_file(recipe: Recipe, init: Weights, shape: tuple[int, ...], classes: int) -> State:
    """A file's weights, with the blocks in `Weights.reset` drawn anew from this recipe's seed.

    BatchNorm's running statistics come along, save in those blocks; a count of batches that the file lacks is 0.

    Args:
        recipe: the training that starts.
        init: its `init`.
        shape: of one input of this training.
        classes: of this training.

    Raises:
        CheckpointError: the file is not found, unreadable, not the one that `init` names, or of another network.
        GroupError: a block is unknown.
    """
    with torch.device("meta"):
        network = models.build(recipe.model, shape, classes)
    kept = weight_files.kept(weight_files.read(init), network, init.reset)
    return drawn(recipe, shape, classes).replace(kept)


def at_barrier(start: State, end: State, alphas: np.ndarray, losses: np.ndarray) -> State:
    """The state at the top of the highest hump of a line (Vlaar & Frankle 2022, "initialise at the barrier").

    Running statistics are interpolated, as they are where the hump was measured.

    Args:
        start: alpha = 0.
        end: alpha = 1.
        alphas: positions ``(n,)``.
        losses: mean training loss at each ``(n,)``, in nats; `shape.peak` says what is taken if there is no hump.
    """
    return Line(start, end).at(float(peak(alphas, losses)))


def _check_fit(
    recipe: Recipe, fresh: State, chosen: dict[str, Tensor | None], blocks: dict[str, tuple[str, ...]]
) -> None:
    for block, names in blocks.items():
        for name in names:
            value = chosen[name]
            if value is None or value.shape != fresh[name].shape:
                found = "lacks it" if value is None else f"has it as {tuple(value.shape)}"
                raise RecipeError(
                    f"{name!r} is {tuple(fresh[name].shape)} in this network on {recipe.data.name!r}, but the training "
                    f"that it starts from {found}. Set back block {block!r}, or give both the same model and images."
                )


def _kept(held: Mapping[str, Tensor], back: set[str]) -> dict[str, Tensor]:
    return {
        key: torch.zeros_like(value) if key.split("/", 1)[1] in back else value.clone() for key, value in held.items()
    }
