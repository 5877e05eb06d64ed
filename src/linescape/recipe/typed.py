"""Values and settings as they are typed, such as ``resnet,depth=18,hidden=200/200``: text to names and values.

The one place that knows this form. Parts are divided by commas, outside of brackets; a part is a value or name=value; a
list is divided by slashes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from linescape.errors import RecipeError, suggest
from linescape.recipe.content import Content

_Content = TypeVar("_Content", bound=Content)


def split(text: str) -> list[str]:
    """The parts of a text between its commas; commas in brackets divide nothing."""
    return [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", text)]


def settings(parts: Iterable[str], text: str, known: Collection[str] | None = None) -> dict[str, str]:
    """Parts of the form ``name=value`` as a dictionary.

    Args:
        parts: from `split`.
        text: the whole text, for messages.
        known: the names that there are; None for any.

    Raises:
        RecipeError: a part is not ``name=value``, its name is unknown, or it comes twice.
    """
    given: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name or name in given or (known is not None and name not in known):
            hint = "" if known is None else f" {suggest(name, known)}"
            raise RecipeError(f"{text!r} has the setting {part!r}; settings are name=value, each once.{hint}")
        given[name] = value
    return given


def name_and_settings(text: str) -> tuple[str, dict[str, str]]:
    """The first part of ``name,setting=value,...``, and the settings.

    Raises:
        RecipeError: a setting is not ``name=value``, or comes twice.
    """
    name, *parts = split(text)
    return name, settings(parts, text)


def convert(text: str, kind: Any) -> Any:
    """One value of a type: ``0.1``, ``true``, ``relu``, or ``a/b`` for a tuple.

    Raises:
        msgspec.ValidationError: it is not of that type.
    """
    value = [word for word in text.split("/") if word] if get_origin(kind) is tuple else text
    return msgspec.convert(value, kind, strict=False)


def content(kind: type[_Content], first: str | None, text: str) -> _Content:
    """A part of a recipe from ``value,setting=value,...``, where settings are fields of the part.

    Args:
        kind: which part.
        first: the field of the leading value; None where that is no field, as a network's name.
        text: what was typed.

    Raises:
        RecipeError: a setting is unknown, or a value impossible.
    """
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    leading, *parts = split(text)
    given = ({first: leading} if first else {}) | settings(parts, text, types)
    values = {}
    for name, value in given.items():
        try:
            values[name] = convert(value, types[name])
        except msgspec.ValidationError as error:
            known = f" Known: {', '.join(map(str, get_args(types[name])))}." * (get_origin(types[name]) is Literal)
            raise RecipeError(f"{text!r} is not possible: {error} for {name}.{known}") from error
    try:
        return kind(**values)
    except (msgspec.ValidationError, RecipeError) as error:
        raise RecipeError(f"{text!r} is not possible: {str(error).rstrip('.')}.") from error
