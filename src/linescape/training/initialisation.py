"""theta_0, the state from which a training starts, for each kind of `recipe.Init`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from linescape import models
from linescape.errors import RecipeError, suggest
from linescape.geometry.groups import by_block
from linescape.geometry.paths import Line
from linescape.geometry.state import State
from linescape.models import Network
from linescape.models.low_rank import with_names_of_updates
from linescape.recipe import Random, Recipe, Trained, Weights, derive_seed
from linescape.shape import peak
from linescape.training import weight_files
from linescape.training.loop import Checkpoint


def draw(recipe: Recipe, shape: tuple[int, ...], classes: int) -> Network:
    """A recipe's network, freshly drawn with a seed from the recipe.

    Args:
        recipe: names the model, the seed and, if it starts so, the `Random` scheme; else the scheme is the model's own.
        shape: of one input, ``(channels, height, width)`` or ``(features,)``.
        classes: outputs of the network.

    Raises:
        RecipeError: the model is impossible for this shape.
    """
    scheme = recipe.init if isinstance(recipe.init, Random) else Random()
    return models.draw(recipe.model, shape, classes, scheme, derive_seed(replace(recipe, order_seed=0), "init"))


def carried_over(init: Trained, network: nn.Module, start: State, end: Checkpoint) -> Checkpoint:
    """A checkpoint of another training with some blocks set back, as the start of this one.

    BatchNorm's running statistics come along (Liu et al. 2020 keep them), except in the blocks that are set back with
    `Trained.statistics`. Updates of LoRA that the other network does not have stay as drawn. A kept optimizer starts
    from zeros for the blocks that are set back.

    Args:
        init: of the training that starts.
        network: its network as drawn, for blocks that are set back to ``fresh``; it is only read.
        start: the other training's start, for blocks that are set back to their ``own``.
        end: the other training's checkpoint; this one goes on with its step where `Trained.schedule` is continued.

    Raises:
        RecipeError: a block is unknown, or a block that is not set back does not fit this model and data.
    """
    blocks, fresh = by_block(network), State.from_module(network)
    trained, own = (with_names_of_updates(state, fresh) for state in (end.state, start))
    for block in init.reset:
        if block not in blocks:
            raise RecipeError(f"The model has no block {block!r} to set back. {suggest(block, blocks)}")
    reset = {name for block in init.reset for name in blocks[block]}
    source = fresh if init.to == "fresh" else own
    chosen = {
        name: source.get(name) if name in reset and (init.statistics or name in fresh.parameters) else trained.get(name)
        for name in fresh
    }
    _check_fit(fresh, chosen, blocks)
    state = fresh.replace({name: value for name, value in chosen.items() if value is not None})
    step = end.step if init.schedule == "continued" else 0
    return Checkpoint(state, step, _kept(end.optimizer, reset) if init.optimizer == "kept" else {})


def from_file(init: Weights, network: nn.Module) -> State:
    """A file's weights, with the blocks in `Weights.reset` as `network` has them, which is freshly drawn and only read.

    BatchNorm's running statistics come along, except in those blocks; a count of batches that the file lacks is 0.

    Raises:
        CheckpointError: the file is not found, unreadable, not the one that `init` names, or of another network.
        GroupError: a block is unknown.
    """
    kept = weight_files.tensors_for(weight_files.read(init), network, init.reset)
    return State.from_module(network).replace(kept)


def at_barrier(start: State, end: State, alphas: np.ndarray, losses: np.ndarray) -> State:
    """The state at the top of the highest hump of a line (Vlaar & Frankle 2022, "initialise at the barrier").

    Running statistics are interpolated, as they were when the hump was measured.

    Args:
        start: state at alpha = 0.
        end: state at alpha = 1.
        alphas: positions ``(n,)``.
        losses: mean training loss at each position ``(n,)``, in nats; `shape.peak` says what happens without a hump.
    """
    return Line(start, end).at(float(peak(alphas, losses)))


def _check_fit(fresh: State, chosen: Mapping[str, Tensor | None], blocks: Mapping[str, tuple[str, ...]]) -> None:
    for block, names in blocks.items():
        for name in names:
            value = chosen[name]
            if value is None or value.shape != fresh[name].shape:
                difference = "lacks it" if value is None else f"has it as {tuple(value.shape)}"
                raise RecipeError(
                    f"{name!r} is {tuple(fresh[name].shape)} in this network, but the training that it starts from "
                    f"{difference}. Set back block {block!r}, or give both the same model and images."
                )


def _kept(optimizer: Mapping[str, Tensor], reset: set[str]) -> dict[str, Tensor]:
    return {
        key: torch.zeros_like(value) if key.split("/", 1)[1] in reset else value.clone()
        for key, value in optimizer.items()
    }
