"""What a user names in a few words on a command line, turned into networks, data and recipes.

``module:callable`` is the user's own code, imported from the present folder or any installed package. Everything else
is linescape's: a name and settings, ``resnet,depth=18,norm=none``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import nn

from linescape import data, models
from linescape.errors import DataError, RecipeError, near
from linescape.recipe import MLP, VGG, Content, Data, EfficientNetLite, LeNet, Model, ResNet
from linescape.store import recipe_of

_NETWORKS: Mapping[str, type[Model]] = {
    "mlp": MLP,
    "lenet": LeNet,
    "vgg": VGG,
    "resnet": ResNet,
    "efficientnet-lite": EfficientNetLite,
}
_Content = TypeVar("_Content", bound=Content)


def content(kind: type[_Content], first: str, text: str) -> _Content:
    """A recipe's part from ``value,setting=value,...``; the leading value is the field `first`, a/b is a list.

    Raises:
        RecipeError: a setting is unknown, or a value impossible.
    """
    head, *rest = text.split(",")
    return _settings(kind, {first: head}, rest, text)


def network(text: str) -> Model:
    """A network of linescape from ``name,setting=value,...``.

    Raises:
        RecipeError: the network or a setting is unknown, or a value impossible.
    """
    name, *rest = text.split(",")
    if name not in _NETWORKS:
        raise RecipeError(
            f"There is no network {name!r}. {near(name, _NETWORKS)} For a network of your own write module:callable."
        )
    return _settings(_NETWORKS[name], {}, rest, text)


def network_and_data(
    model: str | None, measured: str | None, metadata: Mapping[str, str] | None
) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network and the data to measure it on; what is not named is taken from a checkpoint's `metadata`.

    Raises:
        RecipeError: something is neither named nor in the checkpoint, unknown, or cannot be imported.
        DataError: the data cannot be read.
    """
    recipe = recipe_of(metadata or {})
    if model is None and recipe is None:
        raise RecipeError(
            "The checkpoint does not say which network it is of. Name it: --model module:callable, where the callable "
            "returns the network, or a network of linescape, such as --model resnet,depth=18."
        )
    if measured is None and recipe is None:
        raise RecipeError(
            "There are no data to measure on. Name them: --data module:callable, where the callable returns "
            '{"train": ..., "test": ...}, or a data set of linescape, such as --data fashion-mini.'
        )
    own = _own_data(measured) if measured and ":" in measured else None
    spec = None if own else content(Data, "name", measured) if measured else recipe.data if recipe else None
    dataset = data.load(spec, recipe.seed if recipe else 0) if spec else None
    if model is not None and ":" in model:
        made = _call(model)
        if not isinstance(made, nn.Module):
            raise RecipeError(
                f"{model} returned a {type(made).__name__}. It must return the network, a torch nn.Module."
            )
    elif dataset is None:
        raise RecipeError(
            "The inputs and classes of a network of linescape come from its data, so it needs data of linescape. Name "
            "them, or give the network as module:callable."
        )
    else:
        of = network(model) if model else recipe.model if recipe else ResNet()
        made = models.build(of, dataset.shape, dataset.classes)
    if own is not None or dataset is None:
        return made, own or {}
    halves = {"train": dataset.train.take(2000), "test": dataset.test}
    return made, {name: (dataset.normalise(half.inputs), half.targets) for name, half in halves.items()}


def device(text: str) -> str:
    """A device that is there, as torch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        RecipeError: torch does not know it or cannot use it here.
    """
    try:
        torch.empty(1, device=text)
    except (RuntimeError, AssertionError) as error:  # torch raises the second where it was built without CUDA
        reason = str(error).splitlines()[0]
        raise RecipeError(f"The device {text!r} cannot be used: {reason}. Use cpu, or a torch built for it.") from error
    return text


def _own_data(text: str) -> Mapping[str, Any]:
    found = _call(text)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise DataError(
            f"{text} returned a {type(found).__name__}. It must return a dictionary of data by name, for example "
            '{"test": (inputs, targets)}.'
        )
    return found


def _call(text: str) -> Any:
    where, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: users keep their model beside their checkpoints
    try:
        function = getattr(importlib.import_module(where), name)
    except ImportError as error:
        raise RecipeError(
            f"{where!r} could not be imported ({error}). Run linescape where `python -c 'import {where}'` works."
        ) from error
    except AttributeError as error:
        raise RecipeError(f"{where!r} has no {name!r}. {near(name, dir(importlib.import_module(where)))}") from error
    return function()


def _settings(kind: type[_Content], fields: dict[str, str], rest: list[str], text: str) -> _Content:
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, object] = dict(fields)
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            raise RecipeError(f"{text!r} has the setting {part!r}; settings are name=value. {near(name, known)}")
        values[name] = value.split("/") if "tuple" in str(known[name]) else value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{text!r} is not possible: {error}.") from error
