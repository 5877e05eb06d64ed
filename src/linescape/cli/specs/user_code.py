"""Calls the user's own code, ``module:callable`` or ``path/to/file.py:function``, and imports optional packages."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from linescape import atomic
from linescape.errors import LinescapeError, RecipeError, first_line, suggest

SCHEMES = ("torchvision", "timm", "hf", "linescape", "images", "hf-data", "text")
"""The schemes before the colon, besides modules and files."""


def call(text: str) -> Any:
    """The return value of the named function.

    Raises:
        RecipeError: it is not there or cannot be imported.
    """
    where, _, name = text.rpartition(":")
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    try:
        function = getattr(module, name)
    except AttributeError as error:
        names = [known for known, value in vars(module).items() if not isinstance(value, ModuleType)]
        raise RecipeError(f"{where!r} has no {name!r}. {suggest(name, names)}") from error
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


def _module(where: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does: users keep their model next to their checkpoints
    try:
        return importlib.import_module(where)
    except (ImportError, ValueError) as error:
        close = difflib.get_close_matches(where, SCHEMES, n=1, cutoff=0.75)
        raise RecipeError(
            f"{where!r} could not be imported ({error}). "
            + (f"Did you mean {close[0]!r}? " if close else "")
            + f"Run linescape where `python -c 'import {where}'` works."
        ) from error


def _file(path: Path) -> ModuleType:
    try:
        atomic.size(path)
        return _loaded(path.resolve(), path.stat().st_mtime_ns)
    except OSError as error:
        raise RecipeError(f"{path} could not be opened: {error.strerror or error}.") from error
    except ImportError as error:
        raise RecipeError(f"{path} could not be run ({error}). Run linescape where `python {path}` works.") from error


@lru_cache
def _loaded(path: Path, _: int) -> ModuleType:
    """A Python file as a module, run again only if it has changed."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python path` does: it may import its neighbours
    name = f"linescape_given_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # data classes look themselves up there
    spec.loader.exec_module(module)
    return module
