"""The way that a training takes, relative to the straight line from its start to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl
from torch import Tensor

from linescape.geometry.state import State
from linescape.recipe import Moment, Recipe

ROW: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title"), pl.String),
    "seed": pl.Int64,
    "state": pl.String,
    **dict.fromkeys(("along", "beside"), pl.Float64),
}


def of_run(recipe: Recipe, kept: Sequence[Moment], state: Callable[[Moment], State]) -> list[dict[str, Any]]:
    """A row for the start, for each kept state in the order in which it is named, and for the end.

    state, along (the alpha of the nearest point of the line through start and end) and beside (the distance from that
    point, divided by the line's length: the norm of the residual of Goodfellow et al. 2015, arXiv 1412.6544). Of the
    parameters, in float64; NaN where start and end are equal.
    """
    start, end = state(Moment(recipe, "start")), state(Moment(recipe))
    rows = [{"state": "start", "along": 0.0, "beside": 0.0}]
    for moment in kept:
        along, beside = coordinates(start, end, state(moment))
        rows.append({"state": str(moment), "along": along, "beside": beside})
    return [*rows, {"state": "end", "along": 1.0, "beside": 0.0}]


def coordinates(start: State, end: State, state: State) -> tuple[float, float]:
    """The alpha of the point of the line that is nearest to a state, and the distance to it in lengths of the line."""
    squared = sum(float((b - a).square().sum()) for a, b, _ in _tensors(start, end, state))
    if not squared > 0:
        return math.nan, math.nan
    along = sum(float(((x - a) * (b - a)).sum()) for a, b, x in _tensors(start, end, state)) / squared
    beside = sum(float((x - a - along * (b - a)).square().sum()) for a, b, x in _tensors(start, end, state))
    return along, math.sqrt(beside / squared)


def _tensors(*states: State) -> Iterator[tuple[Tensor, ...]]:
    return zip(*([value.double() for value in state.parameters.values()] for state in states), strict=True)
