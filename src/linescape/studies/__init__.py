"""The studies: a module for each publication that is repeated, with `SCALES` and a function `study(scale)`.

One's own are in files: ``my_study.py``, which defines `study`, a `Study` or a function that returns one.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from linescape.errors import LinescapeError, RecipeError, suggest
from linescape.recipe import user_code
from linescape.studies import kinds as kinds  # every process is to know all kinds of tasks that a store may hold
from linescape.studies import works
from linescape.studies.study import Study

_NAMES = ("vlaar2022", *works.NAMES)


def names() -> tuple[str, ...]:
    """Every study's name."""
    return _NAMES


def scales(name: str) -> tuple[str, ...]:
    """The scales of a study, smallest first; one's own has one, without a name.

    Raises:
        RecipeError: the study is unknown.
    """
    return ("",) if _is_own(name) else tuple(_module(name).SCALES)


def find(name: str, scale: str = "") -> Study:
    """A study at a scale.

    Args:
        name: of the study, or of a file, ``file.py`` or ``file.py:name``; code that is named so is run.
        scale: ``mini`` if it is empty; one's own study has none.

    Raises:
        RecipeError: the study or the scale is unknown, or the file defines no study.
    """
    if _is_own(name):
        return _own(name, scale)
    scale = scale or "mini"
    module = _module(name)
    if scale not in module.SCALES:
        raise RecipeError(f"Study {name!r} has no scale {scale!r}. {suggest(scale, module.SCALES)}")
    study: Study = module.study(scale)
    return study


def _is_own(name: str) -> bool:
    return name.endswith(".py") or ":" in name


def _own(name: str, scale: str) -> Study:
    if scale:
        raise RecipeError(f"{name} is a study of your own, which has no scale {scale!r}. Leave the scale out.")
    where, _, word = (f"{name}:study" if name.endswith(".py") else name).rpartition(":")
    found = user_code.attribute(where, word)
    try:
        study = found() if callable(found) else found
    except LinescapeError:
        raise
    except Exception as error:
        raise user_code.explained(error, f"{word} of {where}") from error
    if not isinstance(study, Study):
        raise RecipeError(
            f"{word} of {where} is a {type(study).__name__}. Let it be a Study or a function without arguments that "
            f"returns one: {word} = Study.of(...)."
        )
    return study


def _module(name: str) -> ModuleType:
    if name not in _NAMES:
        raise RecipeError(f"There is no study {name!r}. {suggest(name, _NAMES)}")
    return import_module(f"linescape.studies.{'works.' if name in works.NAMES else ''}{name}")
