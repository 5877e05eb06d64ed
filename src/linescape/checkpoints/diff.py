"""How two checkpoints differ, tensor by tensor and block by block, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from linescape.checkpoints.formats import Contents
from linescape.checkpoints.formats.hugging_face import differing_settings
from linescape.errors import abbreviate
from linescape.geometry.groups import by_name
from linescape.geometry.mismatch import Mismatch, is_counter
from linescape.geometry.packed import packed_weights
from linescape.geometry.state import Distance, State, distances
from linescape.geometry.tensors import identical, is_continuous, is_finite, promoted

MEASURED = ("running_mean", "running_var")
"""What BatchNorm measures of the data: these last parts of names are of buffers, not of parameters."""


@dataclass(frozen=True)
class Comparison:
    """How two checkpoints differ.

    Attributes:
        only_in_start: names.
        only_in_end: names.
        shapes: name -> shapes in start and end, where they differ.
        dtypes: name -> types in start and end, where they differ.
        tied: sets of names that share one tensor, in either.
        moves: names of floating and complex tensors that differ in value.
        equal: names of tensors that are equal.
        not_finite: of these, names of tensors that hold NaN or infinity in either; there is no line between them.
        not_interpolated: names of integer and boolean tensors that differ.
        packed: weights that are integers or 8-bit numbers with scales, and differ; distances do not know their values.
        unread: tensors that cannot be read, such as sparse ones, with their kinds.
        settings: of the ``config.json`` beside them, where they differ, with the values of both.
        distances: from start to end, of all parameters in both (``all``) and of each block.
    """

    only_in_start: tuple[str, ...]
    only_in_end: tuple[str, ...]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    dtypes: Mapping[str, tuple[str, str]]
    tied: tuple[tuple[str, ...], ...]
    moves: tuple[str, ...]
    equal: tuple[str, ...]
    not_finite: tuple[str, ...]
    not_interpolated: tuple[str, ...]
    packed: tuple[str, ...]
    unread: tuple[str, ...]
    settings: tuple[str, ...]
    distances: Mapping[str, Distance]

    def __str__(self) -> str:
        shapes = [f"{name} {first} and {last}" for name, (first, last) in self.shapes.items()]
        dtypes = [f"{name} {first} and {last}" for name, (first, last) in self.dtypes.items()]
        # These are many, so they are counted and not named.
        moving = "tensor moves" if len(self.moves) == 1 else "tensors move"
        counts = [f"{len(self.moves):5,} {moving}"] + ([f"{len(self.equal):5,} equal in both"] if self.equal else [])
        listed = {
            "of these hold NaN or infinity, so there is no line": self.not_finite,
            "integers that differ, which do not move": self.not_interpolated,
            "packed weights that differ, of which distances are not those of the networks": self.packed,
            "sparse, quantised or of another class, and not compared": self.unread,
            "settings of config.json that differ, so the networks compute different things": self.settings,
            "only in the start": self.only_in_start,
            "only in the end": self.only_in_end,
            "of another shape": shapes,
            "of another type": dtypes,
            "sets of tied weights": [" = ".join(names) for names in self.tied],
        }
        short = self.not_interpolated  # nearly always the counters of BatchNorm
        lines = [
            f"{len(names):5,} {what}: {abbreviate(names, 1 if names is short else 20)}"
            for what, names in listed.items()
            if names
        ]
        return "\n".join([*counts, *lines])


def compare(start: Contents, end: Contents) -> Comparison:
    """How two checkpoints differ; blocks follow from the names (see `groups.by_name`)."""
    start = start.named_as(end)
    start, end = (
        replace(one, tensors={n: value for n, value in one.items() if n in other or not is_counter(n)})
        for one, other in ((start, end), (end, start))
    )
    mismatch = Mismatch.between(end, start)
    common = {name: promoted(start[name].dtype, end[name].dtype) for name in end if name in start}
    types = {name: dtype for name, dtype in common.items() if dtype is not None and name not in mismatch.shapes}
    first, last = _alike(start, end, types)
    equal = {name: None for name in first if identical(first[name], last[name])}
    differ = [name for name in first if name not in equal]
    moves = tuple(name for name in differ if is_continuous(first[name].dtype))
    return Comparison(
        only_in_start=mismatch.only_right,
        only_in_end=mismatch.only_left,
        shapes={name: (of_start, of_end) for name, (of_end, of_start) in mismatch.shapes.items()},
        dtypes={name: (_named(of_start), _named(of_end)) for name, (of_end, of_start) in mismatch.dtypes.items()},
        tied=tuple(dict.fromkeys((*_tied(start), *_tied(end)))),
        moves=moves,
        not_finite=tuple(name for name in moves if not (is_finite(first[name]) and is_finite(last[name]))),
        equal=tuple(equal),
        not_interpolated=tuple(name for name in differ if not is_continuous(first[name].dtype)),
        packed=tuple(packed_weights(last, differ)),
        unread=tuple(f"{name} ({kind})" for name, kind in {**start.unread, **end.unread}.items()),
        settings=tuple(differing_settings(start, end)),
        distances=distances(first, last, by_name(first.parameters)),
    )


def _alike(start: Contents, end: Contents, types: Mapping[str, torch.dtype]) -> tuple[State, State]:
    """Tensors of both in the wider of their two types; parameters and buffers as far as names and values tell."""

    def is_learnt(name: str) -> bool:
        if not is_continuous(types[name]) or name.rpartition(".")[2] in MEASURED:
            return False
        return is_finite(end[name]) or not identical(start[name].to(types[name]), end[name].to(types[name]))

    learnt = {name: is_learnt(name) for name in types}

    def state(contents: Contents) -> State:
        wide = {name: contents[name].to(dtype) for name, dtype in types.items()}
        parameters = {name: value for name, value in wide.items() if learnt[name]}
        return State(parameters, {name: value for name, value in wide.items() if not learnt[name]})

    return state(start), state(end)


def _tied(contents: Contents) -> list[tuple[str, ...]]:
    sets: dict[str, list[str]] = {}
    for name, first in contents.tied.items():
        sets.setdefault(first, [first]).append(name)
    return [tuple(names) for names in sets.values()]


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
