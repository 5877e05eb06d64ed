"""Paths through the space of states: a position alpha gives a state.

A path says, tensor by tensor, where alpha = 0 is `start` and alpha = 1 is `end`. Each position is computed from
the ends anew, never by adding steps, so both ends are bit-exact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from linescape.errors import AlphaError, GroupError, StateError, suggest
from linescape.geometry.state import State, check_finite, check_pair, is_finite, lerp


class Path(ABC):
    """A curve alpha -> state. `names` are its tensors; `moving` those that depend on alpha."""

    @property
    @abstractmethod
    def template(self) -> State:
        """A state with the path's names, roles and ties."""

    @property
    @abstractmethod
    def moving(self) -> frozenset[str]:
        """Names of the tensors that depend on alpha."""

    @property
    def straight(self) -> bool:
        """Whether each tensor is a straight line in alpha through its values at 0 and 1."""
        return False

    @abstractmethod
    def tensor(self, name: str, alpha: float) -> Tensor:
        """One tensor at one position; possibly shared with an end, so not to be written to."""

    def write(self, name: str, alpha: float, into: Tensor) -> None:
        """Write one tensor at one position into another of its shape, where possible without allocating."""
        into.copy_(self.tensor(name, alpha))

    def at(self, alpha: float) -> State:
        """The whole state at one position; where it is an end, it shares the end's tensors."""
        check_alpha(alpha)
        return self.template.replace({name: self.tensor(name, alpha) for name in self.template})

    def describe(self) -> dict[str, object]:
        """What a result should say of the path: its kind, how many tensors move, and which do not (JSON-able)."""
        floating = {name for name, value in self.template.items() if value.dtype.is_floating_point}
        return {
            "path": type(self).__name__,
            "moving": len(self.moving & floating),
            "at_rest": sorted(floating - self.moving),
            "not_interpolated": sorted(set(self.template) - floating),
        }


class Line(Path):
    """``theta(alpha) = (1 - alpha) * start + alpha * end`` (Goodfellow, Vinyals & Saxe 2015, arXiv 1412.6544).

    Parameters and floating buffers (running statistics too) move; integer and boolean buffers are the start's at
    alpha = 0, else the end's. `alpha` may leave [0, 1].

    Raises:
        StateError: the states differ in names, shapes or types, or hold NaN or infinity.
    """

    def __init__(self, start: State, end: State) -> None:
        check_pair(start, end)
        check_finite(start, "The start")
        check_finite(end, "The end")
        self.start, self.end = start, end

    @property
    def straight(self) -> bool:
        """It is."""
        return True

    @property
    def template(self) -> State:
        """The end."""
        return self.end

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors that differ between the ends."""
        return frozenset(name for name, value in self.end.items() if not torch.equal(self.start[name], value))

    def tensor(self, name: str, alpha: float) -> Tensor:
        """``lerp(start, end, alpha)`` of one tensor."""
        if alpha in (0.0, 1.0):
            return (self.end if alpha else self.start)[name]
        return lerp(self.start[name], self.end[name], alpha)

    def write(self, name: str, alpha: float, into: Tensor) -> None:
        """As for every path."""
        start, end = self.start[name], self.end[name]
        if alpha in (0.0, 1.0) or not end.dtype.is_floating_point or into.dtype != end.dtype:
            into.copy_(self.tensor(name, alpha))
        else:
            torch.lerp(start, end, alpha, out=into)


class Only(Path):
    """Some tensors on a path, all others at rest: layer-wise interpolation (Chatterji et al. 2020, arXiv 1912.00528).

    With ``rest=path.at(1)``, the default, the others stay at their final state, so the layer-wise line meets the whole
    line at alpha = 1; with ``rest=path.at(0)`` they stay at the initial state (no published source).

    Raises:
        GroupError: a name is not a tensor of the path, or none is given.
    """

    def __init__(self, path: Path, names: Iterable[str], rest: State | None = None) -> None:
        held = path.template
        self.path = path
        self.names = frozenset(held.tied.get(name, name) for name in names)
        if not self.names:
            raise GroupError("The group is empty, so nothing would move. Name at least one tensor.")
        for name in self.names:
            if name not in held:
                raise GroupError(f"The path has no tensor {name!r}. {suggest(name, held)}")
        self.rest = path.at(1.0) if rest is None else rest
        check_pair(held, self.rest)

    @property
    def template(self) -> State:
        """The resting state."""
        return self.rest

    @cached_property
    def moving(self) -> frozenset[str]:
        """The chosen tensors, as far as they move on the path."""
        return self.names & self.path.moving

    @property
    def straight(self) -> bool:
        """Whether the path is, of which this is a part."""
        return self.path.straight

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The path's tensor if it was chosen, else the resting one."""
        return self.path.tensor(name, alpha) if name in self.names else self.rest[name]

    def write(self, name: str, alpha: float, into: Tensor) -> None:
        """As for every path."""
        if name in self.names:
            self.path.write(name, alpha, into)
        else:
            into.copy_(self.rest[name])

    def describe(self) -> dict[str, object]:
        """As for every path, and where the others rest: at its ``end``, its ``start``, or ``elsewhere``."""
        others = [name for name in self.rest if name not in self.names]
        at = [
            where
            for where, alpha in (("end", 1.0), ("start", 0.0))
            if all(torch.equal(self.rest[name], self.path.tensor(name, alpha)) for name in others)
        ]
        return {**super().describe(), "of": type(self.path).__name__, "rest": at[0] if at else "elsewhere"}


class Ray(Path):
    """``theta(alpha) = origin + alpha * direction``, as with a random direction; both must be floating where they move.

    `direction` may leave tensors out: they rest at the origin.

    Raises:
        StateError: a direction's tensor is unknown, has another shape, or is not finite.
    """

    def __init__(self, origin: State, direction: dict[str, Tensor] | State) -> None:
        check_finite(origin, "The origin")
        for name, value in direction.items():
            if name not in origin:
                raise StateError(f"The direction has a tensor {name!r} that the origin lacks. {suggest(name, origin)}")
            if value.shape != origin[name].shape:
                raise StateError(
                    f"The direction's {name!r} has shape {tuple(value.shape)}, the origin's "
                    f"{tuple(origin[name].shape)}. A direction needs the shapes of the state that it leaves."
                )
            if not is_finite(value):
                raise StateError(f"The direction's {name!r} holds NaN or infinity, so no point of the ray is finite.")
        self.origin, self.direction = origin, direction

    @property
    def template(self) -> State:
        """The origin."""
        return self.origin

    @cached_property
    def moving(self) -> frozenset[str]:
        """Floating tensors whose direction is not zero."""
        return frozenset(
            name
            for name, value in self.direction.items()
            if self.origin[name].dtype.is_floating_point and bool(value.any())
        )

    def tensor(self, name: str, alpha: float) -> Tensor:
        """``origin + alpha * direction`` of one tensor; half precision is computed in float32 and rounded once."""
        held = self.origin[name]
        if name not in self.direction or not held.dtype.is_floating_point or alpha == 0.0:
            return held
        wide = torch.promote_types(held.dtype, torch.float32)
        return torch.add(held.to(wide), self.direction[name].to(wide), alpha=alpha).to(held.dtype)


class Bend(Path):
    """Straight pieces through several states; by default at equally spaced alphas from 0 to 1.

    Before the first and after the last position the outer pieces go on straight.

    Raises:
        StateError: states do not fit together or are not finite.
        AlphaError: `positions` do not rise from 0 to 1, one for each state.
    """

    def __init__(self, states: Sequence[State], positions: Sequence[float] | None = None) -> None:
        if len(states) < 2:
            raise StateError(f"A bend needs at least two states, but {len(states)} were given.")
        last = len(states) - 1
        self.positions = [i / last for i in range(last + 1)] if positions is None else [float(p) for p in positions]
        rising = all(left < right for left, right in pairwise(self.positions))
        if len(self.positions) != len(states) or not rising or self.positions[0] != 0.0 or self.positions[-1] != 1.0:
            raise AlphaError(
                f"The positions {self.positions} do not rise from 0 to 1 with one for each of the {len(states)} states."
            )
        self.pieces = [Line(left, right) for left, right in pairwise(states)]

    @property
    def template(self) -> State:
        """The last state."""
        return self.pieces[-1].end

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors that move on any piece."""
        return frozenset().union(*(piece.moving for piece in self.pieces))

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The tensor on the piece that holds alpha; bit-exact at each state."""
        index = max(i for i, position in enumerate(self.positions[:-1]) if i == 0 or position <= alpha)
        left, right = self.positions[index], self.positions[index + 1]
        inner = 1.0 if alpha == right else (alpha - left) / (right - left)
        return self.pieces[index].tensor(name, inner)


def check_alpha(alpha: float) -> None:
    """Raise `AlphaError` if a position is not a finite number."""
    if not math.isfinite(alpha):
        raise AlphaError(
            f"alpha is {alpha}, which is no position on a path. Give a finite number; 0 is the start, 1 the end."
        )
