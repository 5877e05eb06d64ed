"""How far each parameter of a network moved: a few numbers, of which the distance of any group of them follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch

from linescape.geometry.state import Distance, State, distances
from linescape.geometry.tensors import chunks, norm


@dataclass(frozen=True)
class Move:
    """The Euclidean distance of one parameter tensor from its start, the start's norm, and how many numbers it has."""

    distance: float
    start: float
    count: int


def moves(start: State, end: State) -> dict[str, Move]:
    """How far each parameter moved, by its name.

    Raises:
        StateError: the states do not fit together.
    """
    alone = distances(start, end, {name: (name,) for name in start.parameters})
    sizes = {name: norm(chunk for (chunk,) in chunks(value)) for name, value in start.parameters.items()}
    return {name: Move(alone[name].total, sizes[name], alone[name].count) for name in start.parameters}


def together(moved: Mapping[str, Move], names: Collection[str]) -> Distance:
    """The distance of some parameters together, as `geometry.state.distances` has it but for rounding."""
    chosen = [moved[name] for name in names]
    total, base = (_norm(lengths) for lengths in ((m.distance for m in chosen), (m.start for m in chosen)))
    return Distance.of(total, base, sum(move.count for move in chosen))


def _norm(lengths: Iterable[float]) -> float:
    return norm(torch.tensor(length, dtype=torch.float64) for length in lengths)
