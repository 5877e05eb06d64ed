"""The studies: one module for each publication that is repeated, with `SCALES` and a function `study(scale)`."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from linescape.errors import RecipeError, suggest
from linescape.studies.study import Study

_NAMES = ("vlaar2022",)


def names() -> tuple[str, ...]:
    """Every study's name."""
    return _NAMES


def scales(name: str) -> tuple[str, ...]:
    """The scales of a study, smallest first.

    Raises:
        RecipeError: the study is unknown.
    """
    return tuple(_module(name).SCALES)


def find(name: str, scale: str = "mini") -> Study:
    """A study at a scale.

    Raises:
        RecipeError: the study or the scale is unknown.
    """
    module = _module(name)
    if scale not in module.SCALES:
        raise RecipeError(f"Study {name!r} has no scale {scale!r}. {suggest(scale, module.SCALES)}")
    study: Study = module.study(scale)
    return study


def _module(name: str) -> ModuleType:
    if name not in _NAMES:
        raise RecipeError(f"There is no study {name!r}. {suggest(name, _NAMES)}")
    return import_module(f"linescape.studies.{name}")
