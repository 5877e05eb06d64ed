"""Frozen values that are named by what they hold: the key, and the random numbers seeded from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import ClassVar, Literal, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from linescape.errors import RecipeError, suggest


class Content(Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen value that is named by what it holds: fields that equal their default do not count.

    Values are checked when it is made, also by `msgspec.structs.replace`, and when it is decoded, where msgspec raises
    ``msgspec.ValidationError`` with the same message. Values that fit are brought to the type of their field: 1 becomes
    1.0, and a list a tuple.

    Raises:
        RecipeError: a value is of another type than its field, or is impossible.
    """

    uncounted: ClassVar[tuple[str, ...]] = ()
    """Fields that never count, since they decide nothing: where a file is kept, whose content is named."""

    def __post_init__(self) -> None:
        for field in _fields(type(self)):
            value = getattr(self, field.name)
            try:
                typed = msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                raise _wrong_type(self, field.name, field.type, error) from error
            if typed is not value:
                force_setattr(self, field.name, typed)
            if isinstance(typed, str) and typed != typed.encode(errors="replace").decode():
                raise RecipeError(f"{field.name} is {typed!r}, which is not UTF-8 and so cannot be kept. Rename it.")
        self._check()

    def _check(self) -> None:
        """Raise `RecipeError` if a value is of its field's type, but impossible."""

    def _require(self, name: str, allowed: bool, remedy: str) -> None:
        if not allowed:
            raise RecipeError(f"{name} is {getattr(self, name)!r}, with which nothing can be trained. Give {remedy}.")

    @property
    def key(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical(self)).hexdigest()[:16]


def canonical(content: Content) -> bytes:
    """JSON with sorted keys and without defaults: equal content, equal bytes."""
    return msgspec.json.encode(_plain(content), order="sorted")


def derive_seed(content: Content, *purpose: str | int) -> int:
    """A 63-bit seed from a content and a purpose; no two purposes share random numbers."""
    return seeds(content)(*purpose)


def seeds(content: Content) -> Callable[..., int]:
    """Purpose -> `derive_seed`, for many purposes of one content: its canonical form is made once."""
    prefix = canonical(content)

    def seed(*purpose: str | int) -> int:
        text = prefix + "".join(f"/{part}" for part in purpose).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    return seed


_fields = cache(msgspec.structs.fields)  # msgspec evaluates the annotations anew each time, half a millisecond


def _plain(value: object) -> object:
    # msgspec's own omit_defaults compares defaults by identity, so an equal value that was written out would
    # change the key; this compares by value.
    if isinstance(value, Content):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        counted = [field for field in _fields(type(value)) if field.name not in value.uncounted]
        values = {field.name: getattr(value, field.name) for field in counted}
        return tag | {
            field.name: _plain(values[field.name]) for field in counted if values[field.name] != field.default
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _wrong_type(content: Content, name: str, kind: object, error: msgspec.ValidationError) -> RecipeError:
    value, owner = getattr(content, name), type(content).__name__
    if get_origin(kind) is Literal:
        known = get_args(kind)
        remedy = suggest(value, known) if isinstance(value, str) else f"Known: {', '.join(map(str, known))}."
        return RecipeError(f"{owner} has no {name} {value!r}. {remedy}")
    return RecipeError(f"{name} of {owner} is {value!r}, which is not of its type: {error}. Give one of that type.")
