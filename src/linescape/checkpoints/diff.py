"""How two checkpoints differ, tensor by tensor and block by block, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from linescape.checkpoints.formats import Contents
from linescape.errors import abbreviate
from linescape.geometry.groups import by_name
from linescape.geometry.state import Distance, State, distances

MEASURED = ("running_mean", "running_var")
"""What BatchNorm measures of the data: by these last parts of their names buffers are told from parameters."""


@dataclass(frozen=True)
class Comparison:
    """How two checkpoints differ.

    Attributes:
        only_in_start: names.
        only_in_end: names.
        shapes: name -> shapes in start and end, where they differ.
        dtypes: name -> types in start and end, where they differ.
        tied: sets of names that share one tensor, in either.
        moves: names of floating tensors that differ in value.
        rests: names of tensors that are equal.
        not_interpolated: names of integer and boolean tensors that differ.
        distances: from start to end, of all parameters that both have (``all``) and of each block.
    """

    only_in_start: tuple[str, ...]
    only_in_end: tuple[str, ...]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dtypes: Mapping[str, tuple[str, str]]
    tied: tuple[tuple[str, ...], ...]
    moves: tuple[str, ...]
    rests: tuple[str, ...]
    not_interpolated: tuple[str, ...]
    distances: Mapping[str, Distance]

    def __str__(self) -> str:
        shapes = [f"{name} {left} and {right}" for name, (left, right) in self.shapes.items()]
        dtypes = [f"{name} {left} and {right}" for name, (left, right) in self.dtypes.items()]
        told = (
            ("move", self.moves),
            ("equal in both", self.rests),
            ("integers that differ, which do not move", self.not_interpolated),
            ("only in the start", self.only_in_start),
            ("only in the end", self.only_in_end),
            ("of another shape", shapes),
            ("of another type", dtypes),
            ("sets of tied weights", [" = ".join(names) for names in self.tied]),
        )
        kinds = ("move", "equal in both")  # these are many, and their names tell little
        return "\n".join(
            f"{len(held):5,} {what}" + (f": {abbreviate(held, 20)}" if what not in kinds else "")
            for what, held in told
            if held or what == "move"
        )


def compare(start: Contents, end: Contents) -> Comparison:
    """How two checkpoints differ; blocks are told by names (see `groups.by_name`)."""
    start = start.named_as(end)
    both = [name for name in end if name in start]
    shapes = {name: (tuple(start[name].shape), tuple(end[name].shape)) for name in both}
    dtypes = {name: (_named(start[name].dtype), _named(end[name].dtype)) for name in both}
    left, right = _alike(start, end, [name for name in both if start[name].shape == end[name].shape])
    rests = tuple(name for name in left if torch.equal(left[name], right[name]))
    equal = set(rests)
    differ = [name for name in left if name not in equal]
    return Comparison(
        only_in_start=tuple(name for name in start if name not in end),
        only_in_end=tuple(name for name in end if name not in start),
        shapes={name: pair for name, pair in shapes.items() if len(set(pair)) > 1},
        dtypes={name: pair for name, pair in dtypes.items() if len(set(pair)) > 1},
        tied=tuple(dict.fromkeys((*_tied(start), *_tied(end)))),
        moves=tuple(name for name in differ if left[name].dtype.is_floating_point),
        rests=rests,
        not_interpolated=tuple(name for name in differ if not left[name].dtype.is_floating_point),
        distances=distances(left, right, by_name(left.parameters)),
    )


def _alike(start: Contents, end: Contents, names: list[str]) -> tuple[State, State]:
    """Tensors of both in the wider of their two types; parameters and buffers as far as names tell."""
    types = {name: torch.promote_types(start[name].dtype, end[name].dtype) for name in names}
    learnt = {name: types[name].is_floating_point and name.rpartition(".")[2] not in MEASURED for name in names}

    def state(found: Contents) -> State:
        wide = {name: found[name].to(types[name]) for name in names}
        parameters = {name: value for name, value in wide.items() if learnt[name]}
        return State(parameters, {name: value for name, value in wide.items() if not learnt[name]})

    return state(start), state(end)


def _tied(found: Contents) -> list[tuple[str, ...]]:
    sets: dict[str, list[str]] = {}
    for name, first in found.tied.items():
        sets.setdefault(first, [first]).append(name)
    return [tuple(names) for names in sets.values()]


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
