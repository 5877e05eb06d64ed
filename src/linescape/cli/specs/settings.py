"""Words with settings, as in ``resnet,depth=18,norm=none``: into parts of recipes, or into plain values."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from linescape.errors import RecipeError, suggest
from linescape.recipe import MLP, VGG, Content, EfficientNetLite, LeNet, Model, ResNet

NETWORKS: Mapping[str, type[Model]] = {
    "mlp": MLP,
    "lenet": LeNet,
    "vgg": VGG,
    "resnet": ResNet,
    "efficientnet-lite": EfficientNetLite,
}
"""linescape's own networks by name."""

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
    if name not in NETWORKS:
        raise RecipeError(
            f"There is no network {name!r}. {suggest(name, NETWORKS)} For a network of your own write module:callable "
            "or file.py:function."
        )
    return _settings(NETWORKS[name], {}, rest, text)


def name_and_settings(text: str) -> tuple[str, dict[str, str]]:
    """What stands first, and the settings after it, as they are written; commas in brackets divide nothing.

    Raises:
        RecipeError: a setting is not ``name=value``, or comes twice.
    """
    head, *rest = re.split(r",(?![^(\[]*[)\]])", text)
    settings: dict[str, str] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or not name or name in settings:
            raise RecipeError(f"{text!r} has the setting {part!r}; settings are name=value, each once.")
        settings[name] = value
    return head, settings


def literals(settings: Mapping[str, str]) -> dict[str, object]:
    """Settings as Python reads them: ``10``, ``0.5``, ``True``, ``(224, 224)``; any other word is a text."""
    return {name: _literal(value) for name, value in settings.items()}


def _literal(text: str) -> object:
    # `false` as a text would be taken for true.
    text = {"true": "True", "false": "False", "none": "None"}.get(text, text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _settings(kind: type[_Content], fields: dict[str, str], rest: list[str], text: str) -> _Content:
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, object] = dict(fields)
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            raise RecipeError(f"{text!r} has the setting {part!r}; settings are name=value. {suggest(name, known)}")
        values[name] = value.split("/") if "tuple" in str(known[name]) else value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{text!r} is not possible: {error}.") from error
