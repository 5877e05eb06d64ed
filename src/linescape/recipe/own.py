"""Parts of a recipe that the user's own code makes: named by the code's text and by settings, never by where it is."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from linescape.errors import LinescapeError, RecipeError
from linescape.recipe import user_code
from linescape.recipe.content import Content


class Own(Content, frozen=True):
    """A function or class of the user's, called with settings by name.

    Make one with `of`. The key has the settings and the SHA-256 of the code's text: of the function and of all that it
    uses in its file (see `recipe.source`), not of the rest of the file, nor of other files that it imports. So what
    decides a result has to be in that file or in the settings; versions of libraries are noted with each result.

    Attributes:
        where: a module, or the absolute path of a file. It is no part of the key.
        function: its name there.
        sha256: of the text that decides what it does.
        settings: as JSON with sorted names.
    """

    uncounted: ClassVar[tuple[str, ...]] = ("where",)

    where: str
    function: str
    sha256: str
    settings: str = "{}"

    @classmethod
    def of(cls, function: str | Callable[..., Any], **settings: Any) -> Self:
        """This part made by a function or class.

        Args:
            function: the function itself, or its name, ``module:name`` or ``file.py:name``.
            settings: its arguments by name: numbers, texts, truth values, None, and lists and dictionaries of these.
                A tuple arrives as a list.

        Raises:
            RecipeError: it has no name by which other processes find it, or a setting is no plain value.
        """
        code = user_code.name(function)
        for name, value in settings.items():
            _check_plain(name, value)
        return cls(*code, settings=json.dumps(settings, sort_keys=True, allow_nan=False))

    def with_settings(self, **changes: Any) -> Self:
        """This part with some settings changed; the code is read anew.

        Raises:
            RecipeError: as `of`.
        """
        return type(self).of(f"{self.where}:{self.function}", **{**self.values, **changes})

    @property
    def values(self) -> dict[str, Any]:
        """The settings by name."""
        values: dict[str, Any] = json.loads(self.settings)
        return values

    @property
    def parameters(self) -> set[str]:
        """The names of its settings, also of those that are left at their defaults."""
        named = inspect.signature(self._found()).parameters.values()
        fixed = {each.name for each in named if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
        return fixed | set(self.values)

    def make(self) -> Any:
        """What the function returns.

        Python's and NumPy's global random numbers are seeded as torch's are, and are afterwards as they were.

        Raises:
            RecipeError: the code is not there, has changed, or raises an error.
        """
        function = self._found()
        before, seed = (random.getstate(), np.random.get_state()), torch.initial_seed()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's code may draw from it
        try:
            return function(**self.values)
        except LinescapeError:
            raise
        except Exception as error:
            raise user_code.explained(error, f"{self} of {self.where}") from error
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002

    def _found(self) -> Callable[..., Any]:
        return user_code.find(user_code.Named(self.where, self.function, self.sha256))

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.values.items())
        return f"{self.function}({settings})" if settings else self.function


class OwnModel(Own, frozen=True, tag_field="name", tag="own"):
    """The user's own network: a function or class that returns a new torch module at each call.

    The module takes a batch of inputs and returns logits ``(batch, classes)``, at least one for each class, since
    trainings minimise cross entropy; other losses are not supported. It must draw its weights itself, from torch's
    random numbers, and keep all that it computes with in parameters and buffers. Its blocks are its attribute
    ``blocks`` if it has one, else its children: see `geometry.groups.by_block`.
    """


class OwnData(Own, frozen=True):
    """The user's own data set: a function that returns ``{"train": ..., "test": ...}``, see `data.own`."""


def _check_plain(name: str, value: object) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            _check_plain(name, item)
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for item in value.values():
            _check_plain(name, item)
    elif not (value is None or type(value) in (bool, int, str) or (type(value) is float and value - value == 0)):
        raise RecipeError(
            f"The setting {name} is or holds {value!r}, a {type(value).__name__}, which cannot be written into a "
            "recipe. Give numbers that are finite, texts, truth values, None, or lists and dictionaries of these, and "
            "let the function make other things of them."
        )
