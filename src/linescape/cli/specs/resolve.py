"""Finds the network and the data to evaluate it on, from the command line and the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from torch import Tensor, nn

from linescape import data, models
from linescape.checkpoints.formats.hugging_face import download_hint
from linescape.cli.specs import data as sets
from linescape.cli.specs.examples import TRAIN
from linescape.cli.specs.networks import is_folder_of_hugging_face, other
from linescape.cli.specs.settings import data_set, network
from linescape.errors import RecipeError
from linescape.recipe import Data, Model, Own, Recipe, ResNet
from linescape.studies.store import recipe_of


class Resolved(NamedTuple):
    """A network, and data to measure it on.

    Attributes:
        network: built, with whatever weights.
        data: name -> what an `Evaluator` takes.
        notes: decisions that the user should know.
    """

    network: nn.Module
    data: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def network_and_data(
    model: str | None,
    measured: str | None,
    metadata: Mapping[str, str] | None,
    end: Path | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Resolved:
    """The network and the data to evaluate it on; by default those of the checkpoint at the end.

    Args:
        model: name and settings of a network.
        measured: name and settings of the data.
        metadata: of the checkpoint; in linescape's own checkpoints it has the recipe.
        end: path of the checkpoint; a Hugging Face folder has the network's config.json and tokenizer.
        tensors: of the checkpoint; a recipe in it may not ask for a larger network.

    Raises:
        RecipeError: something is neither named nor in the checkpoint, unknown, or cannot be imported.
        DataError: the data cannot be read.
    """
    recipe = recipe_of(metadata or {})
    if recipe and (own := _own_code(recipe, model, measured)):
        raise RecipeError(
            f"The checkpoint says that it is of {own}. Code that a file names is not run: name it yourself, with "
            "--model and --data."
        )
    if model is None and recipe is None and is_folder_of_hugging_face(end):
        model = f"hf:{end}"
    if model is None and recipe is None:
        raise RecipeError(
            "The checkpoint does not say which network it is of. Name it: --model module:callable, where the callable "
            "returns the network, or one of torchvision:NAME, timm:NAME, hf:FOLDER and linescape's, such as --model "
            "resnet,depth=18."
        )
    if measured is None and recipe is None:
        raise RecipeError(
            "There are no data to measure on. Name them: --data module:callable, where the callable returns "
            '{"train": ..., "test": ...}, or images:FOLDER, hf-data:FOLDER, text:FILE, or a data set of linescape, '
            "such as --data fashion-mini."
        )
    made = other(model) if model is not None else None
    if model is not None and made is None:
        network(model.removeprefix("linescape:"))  # an unknown name is the first error
    if measured is not None and ":" in measured:
        if made is None:
            raise RecipeError(
                "The inputs and classes of a network of linescape come from its data, so it needs data of linescape. "
                "Name them, or give the network as module:callable."
            )
        folder = Path(model.removeprefix("hf:")) if model and model.startswith("hf:") else end
        return Resolved(made, *sets.read(measured, made, folder))
    return _of_linescape(made, model, measured, recipe, tensors)


def _own_code(recipe: Recipe, model: str | None, measured: str | None) -> str:
    """The code of one's own that a checkpoint names and that would have to be run."""
    parts = (recipe.model if model is None else None, recipe.data.own if measured is None else None)
    return " and ".join(f"{part.where}:{part.function}" for part in parts if isinstance(part, Own))


def _of_linescape(
    made: nn.Module | None,
    model: str | None,
    measured: str | None,
    recipe: Recipe | None,
    tensors: Mapping[str, Tensor] | None,
) -> Resolved:
    """A data set of linescape, and a network for it."""
    try:
        spec = data_set(measured) if measured else recipe.data if recipe else Data()
    except RecipeError as error:
        raise RecipeError(
            f"{error} Data of your own are module:callable or file.py:function: mine:data is the function data in your "
            "mine.py. Others are images:FOLDER, hf-data:FOLDER and text:FILE."
            + (download_hint(measured, "hf-data:") if measured and "/" in measured else "")
        ) from error
    dataset = data.load(spec, recipe.seed if recipe else 0)
    if made is None:
        spec_of_model = network(model.removeprefix("linescape:")) if model else recipe.model if recipe else ResNet()
        if model is None and tensors is not None:
            _check_size(spec_of_model, dataset.shape, dataset.classes, tensors)
        made = models.build(spec_of_model, dataset.shape, dataset.classes)
    splits = {"train": dataset.train.take(TRAIN), "test": dataset.test}
    return Resolved(made, {name: (dataset.normalise(split.inputs), split.targets) for name, split in splits.items()})


def _check_size(spec: Model, shape: tuple[int, ...], classes: int, tensors: Mapping[str, Tensor]) -> None:
    """Raise `RecipeError` if a network is larger than the checkpoint that describes it; it takes no memory."""
    values = sum(value.numel() for value in tensors.values())
    settings = msgspec.to_builtins(spec).values()
    lists = [setting for setting in settings if isinstance(setting, list | tuple)]
    numbers = [number for number in chain(settings, *lists) if isinstance(number, int)]
    possible = max(numbers, default=0) <= values and all(len(items) <= len(tensors) for items in lists)
    if possible:
        network = models.outline(spec, shape, classes)
        possible = sum(parameter.numel() for parameter in network.parameters()) <= values
    if not possible:
        raise RecipeError(
            f"The recipe in the checkpoint is of a larger network than the {values:,} values in it: one of them is "
            "damaged. Name the network: --model."
        )
