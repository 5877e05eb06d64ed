"""Calls the user's own code, ``module:callable`` or ``path/to/file.py:function``, and imports optional packages."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from linescape.errors import LinescapeError, RecipeError, first_line
from linescape.recipe.user_code import attribute


def call(text: str) -> Any:
    """The return value of the named function.

    Raises:
        RecipeError: it is not there or cannot be imported.
    """
    where, _, name = text.rpartition(":")
    function = attribute(where, name)
    if isinstance(function, nn.Module | Iterable) and not isinstance(function, type | str | bytes):
        return function  # the network or the data themselves
    if not callable(function):
        raise RecipeError(f"{text} is a {type(function).__name__}. Name a function that returns a network or data.")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise RecipeError(
            f"{text} cannot be called without arguments ({error}). Name a function that takes none and returns "
            "the network or the data."
        ) from error
    except ValueError:
        pass  # of some built-in functions the arguments are not known
    try:
        return function()
    except LinescapeError:
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise RecipeError(
            f"{text} raised {type(error).__name__}: {error} (line {line.lineno} of {line.filename}). It is called "
            "without arguments, from the folder that you are in."
        ) from error


def optional(package: str, extra: str, *names: str) -> Any:
    """An optional package, or attributes of it.

    Args:
        package: its name.
        extra: the extra of linescape that installs it.
        names: attributes to return, which some packages import on access; None for one that is missing.

    Raises:
        RecipeError: it is missing, or does not work with the installed torch.
    """
    try:
        module = importlib.import_module(package)
        return [getattr(module, name, None) for name in names] if names else module
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        reasons = _reasons(error)
        if any("torchvision" in reason and "No module" not in reason for reason in reasons):
            # Both are compiled: with another torch, or one for another device, its operations are not found.
            raise RecipeError(
                f"The installed torchvision does not fit the installed torch {torch.__version__} ({reasons[-1]}). "
                "Install the two that belong together, for the same device: see https://pytorch.org/get-started."
                + " Models and data of Hugging Face do without it: pip uninstall torchvision."
                * (extra == "hf")
            ) from error
        raise RecipeError(
            f"This needs {package.split('.')[0]}, which is not installed or does not work ({reasons[-1]}). Run: "
            f"pip install 'linescape[{extra}]'"
        ) from error


def _reasons(error: BaseException | None) -> list[str]:
    """The first lines of an error and of its causes."""
    lines: list[str] = []
    while error is not None:
        lines.append(first_line(error))
        error = error.__cause__ or error.__context__
    return lines
