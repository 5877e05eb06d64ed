"""Changes to a recipe as a study of one's own writes them, each as short as it can be said.

{"weight_decay": 0}                   a field of any part of the recipe, here ``optimizer.weight_decay``
{"optimizer": Adam, "epochs": 20}     a whole part, and several changes at once, in this order
{"width": 64}                         a setting of one's own network or data
{"adversarial": {"epochs": 20}}       an intervention with its arguments; ``True`` where it needs none
"optimizer=adam,lr=0.001"             the same as a command line has it, see `interventions.apply`
lambda recipe: ...                    any function from a recipe to one
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from linescape.errors import RecipeError, suggest
from linescape.recipe import Content, Own, Recipe
from linescape.training import interventions

Change = Mapping[str, Any] | str | Callable[[Recipe], Recipe]

_PARTS = ("data", "model", "optimizer", "schedule", "init", "trains")


def changed(recipe: Recipe, change: Change) -> Recipe:
    """A recipe with a change made.

    Raises:
        RecipeError: there is no such field, setting or intervention, or a value is impossible.
    """
    if isinstance(change, str):
        return interventions.apply(recipe, change)
    if isinstance(change, Mapping):
        for name, value in change.items():
            recipe = _with(recipe, name, value)
        return recipe
    if not callable(change):
        raise RecipeError(
            f"An arm is {change!r}, a {type(change).__name__}. Give a dictionary of changes such as "
            '{"weight_decay": 0}, or a function from a recipe to one.'
        )
    made = change(recipe)
    if not isinstance(made, Recipe):
        raise RecipeError(f"The function of an arm returned a {type(made).__name__}. Return the changed Recipe.")
    return made


def _with(recipe: Recipe, name: str, value: Any) -> Recipe:
    part, _, field = name.rpartition(".")
    if name == "seed":
        raise RecipeError("An arm changes the seed, but all arms have the same seeds. Give these to the study.")
    if name in _PARTS and isinstance(value, Content):
        return replace(recipe, **{name: value})
    having = [each for each in _PARTS if field in _names(getattr(recipe, each)) and part in ("", each)]
    if len(having) > 1:
        choice = " or ".join(f"{each}.{field}" for each in having)
        raise RecipeError(f"{name} could be {choice}, which would give different studies. Write one of these.")
    if having:
        return replace(recipe, **{having[0]: _set(getattr(recipe, having[0]), field, value)})
    if name.replace("-", "_") not in interventions.names():
        known = [*interventions.names(), *(word for each in _PARTS for word in _names(getattr(recipe, each)))]
        raise RecipeError(f"The recipe has no {name!r} to change, nor is it an intervention. {suggest(name, known)}")
    intervention = interventions.by_name(name)
    named = dict(value) if isinstance(value, Mapping) else {}
    given = value if isinstance(value, list | tuple) else () if named == value or value is True else (value,)
    try:
        inspect.signature(intervention).bind(recipe, *given, **named)
    except TypeError as error:
        raise RecipeError(f"{name} cannot be applied with {value!r}: {error}.") from error
    return intervention(recipe, *given, **named)


def _names(part: Content) -> set[str]:
    """The fields of a part that can be changed: of one's own network or data their settings."""
    if isinstance(part, Own):
        return part.parameters
    own = getattr(part, "own", None)
    return set(part.__struct_fields__) - {"own"} | (own.parameters if own else set())


def _set(part: Content, field: str, value: Any) -> Content:
    if isinstance(part, Own):
        return part.with_settings(**{field: value})
    own = getattr(part, "own", None)
    if own and field in own.parameters:
        return replace(part, own=own.with_settings(**{field: value}))
    return replace(part, **{field: value})
