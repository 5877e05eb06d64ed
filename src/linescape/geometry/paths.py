"""Paths through the space of states: a position alpha gives a state.

A path gives each tensor at each position; alpha = 0 is the start and alpha = 1 the end. Each position is computed from
the ends, never by adding steps, so both ends are bit-exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from linescape.errors import AlphaError, GroupError, StateError, abbreviate, check_type, suggest
from linescape.geometry.given import Network, as_ends, as_state
from linescape.geometry.left_out import differing
from linescape.geometry.packed import check_not_packed
from linescape.geometry.spectral_norm import Vectors, normed
from linescape.geometry.state import State, check_finite, check_pair
from linescape.geometry.tensors import difference_fits, identical, is_continuous, is_finite, lerp, widened


class Segment(NamedTuple):
    """A tensor at both ends of a straight line.

    Attributes:
        start: at alpha = 0.
        end: at alpha = 1.
        fits: whether all positions between them are known to be finite, by `difference_fits`.
    """

    start: Tensor
    end: Tensor
    fits: bool


class Path(ABC):
    """What all paths have in common: a state of the network for each position alpha."""

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

    @property
    def given_by_ends(self) -> bool:
        """Whether the path is determined by its tensors at 0 and 1 and by which of them move."""
        return self.straight

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Names of what differs between the networks of the path and no state dict holds; see `geometry.left_out`."""
        return ()

    @property
    def spectral(self) -> frozenset[str]:
        """Names of the singular vectors of spectral norm that are found anew; see `geometry.spectral_norm`."""
        return frozenset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.template!r})"

    @abstractmethod
    def tensor(self, name: str, alpha: float) -> Tensor:
        """One tensor at one position; possibly shared with an end, so not to be written to."""

    def segment(self, name: str) -> Segment | None:
        """The ends of a tensor that is ``lerp(start, end, alpha)`` at every position; None for other tensors."""
        del name
        return None

    def write(self, name: str, alpha: float, into: Tensor) -> None:
        """Write one tensor at one position into another of its shape, where possible without allocating."""
        ends = self.segment(name)
        if ends is not None and into.dtype == ends.end.dtype:
            lerp(ends.start, ends.end, alpha, into, ends.fits)
        else:
            into.copy_(self.tensor(name, alpha))

    def at(self, alpha: float) -> State:
        """The whole state at one position; where it is an end, it shares the end's tensors."""
        check_alpha(alpha)
        return self.template.replace({name: self.tensor(name, alpha) for name in self.template})

    def describe(self) -> dict[str, object]:
        """The path for the provenance of a result: its kind, how many tensors move, and which do not (JSON-able)."""
        continuous = {name for name, value in self.template.items() if is_continuous(value.dtype)}
        return {
            "path": type(self).__name__,
            "moving": len(self.moving & continuous),
            "at_rest": sorted(continuous - self.moving),
            "not_interpolated": sorted({*self.template, *self.template.opaque} - continuous),
            **({"found_anew": sorted(self.spectral)} if self.spectral else {}),
        }


class Line(Path):
    """The line ``theta(alpha) = (1 - alpha) * start + alpha * end`` (Goodfellow et al. 2015, arXiv 1412.6544).

    Parameters and buffers that differ between the ends move, running statistics too, where they are floating or
    complex; integer and boolean ones are the start's at alpha = 0, else the end's. What is equal at both ends stays as
    it is, infinite values (as in masks) and NaN at the same places included. Between the ends the singular
    vectors of spectral norm are those of the interpolated weight. `alpha` may leave [0, 1].

    Args:
        start: a module, of whose present weights a copy is made, or a `State`, or the state dict of the other module.
        end: likewise.

    Raises:
        StateError: they are no networks; they differ in names, shapes or types; a tensor that moves holds NaN or
            infinity; or what differs cannot be interpolated (sparse tensors, integers with scales).
    """

    def __init__(self, start: Network, end: Network) -> None:
        self.start, self.end = as_ends(start, end)
        check_pair(self.start, self.end)
        check_not_packed(self.end, self.moving)
        check_finite(self.start, "The start", self.moving)
        check_finite(self.end, "The end", self.moving)

    @property
    def straight(self) -> bool:
        """True but with spectral norm."""
        return not self.spectral

    @property
    def given_by_ends(self) -> bool:
        """Always true."""
        return True

    @cached_property
    def unsaved(self) -> tuple[str, ...]:
        """What differs between start and end and their state dicts do not hold, where both states know it."""
        if self.start.unsaved is None or self.end.unsaved is None:
            return ()
        return differing(self.start.unsaved, self.end.unsaved)

    @cached_property
    def spectral(self) -> frozenset[str]:
        """The vectors of the weights that move."""
        return frozenset(self._vectors.of)

    @property
    def template(self) -> State:
        """The end."""
        return self.end

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors that differ between the ends, and the singular vectors of weights that do."""
        return self._differing | self.spectral

    @cached_property
    def _differing(self) -> frozenset[str]:
        return frozenset(name for name, value in self.end.items() if not identical(self.start[name], value))

    @cached_property
    def _fitting(self) -> dict[str, bool]:
        """What is known of `difference_fits`, by name."""
        return {}

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors((of for of in normed(self.end) if of.weight in self._differing), self.start, self.end)

    def tensor(self, name: str, alpha: float) -> Tensor:
        """``lerp(start, end, alpha)`` of one tensor; of one that does not move, the end's, as infinities have none.

        Between the ends, singular vectors are those of the weight there.
        """
        if alpha in (0.0, 1.0) or self.template.tied.get(name, name) not in self.moving:
            return (self.end if alpha else self.start)[name]
        if name in self._vectors.of:
            return self._vectors.find(name, alpha, lambda other: lerp(self.start[other], self.end[other], alpha))
        return lerp(self.start[name], self.end[name], alpha)

    def segment(self, name: str) -> Segment | None:
        """The ends of a tensor that differs between them."""
        if self.template.tied.get(name, name) not in self._differing - self.spectral:
            return None
        start, end = self.start[name], self.end[name]
        if name not in self._fitting:
            self._fitting[name] = difference_fits(start, end)
        return Segment(start, end, self._fitting[name])


class Only(Path):
    """Some tensors on a path, the others held fixed: layer-wise interpolation.

    Source: Chatterji et al. 2020 (arXiv 1912.00528).

    Args:
        path: of all tensors.
        names: of the tensors that move.
        fixed: the state of the others. The default, ``path.at(1)``, is their final state, so that the layer-wise line
            meets the whole line at alpha = 1; with ``path.at(0)`` they stay at the initial state (no published source).

    Raises:
        GroupError: a name is not a tensor of the path, or none is given.
        RecipeError: `path` is none.
        StateError: `fixed` is no network of its kind.
    """

    def __init__(self, path: Path, names: Iterable[str], fixed: Network | None = None) -> None:
        check_type(path, Path, "The path", "Give a path between two networks, such as Line(start, end).")
        if isinstance(names, str):
            raise GroupError(f"The group is the text {names!r}. Give a list of names: [{names!r}].")
        template = path.template
        self.path = path
        chosen = {template.tied.get(name, name) for name in names}
        for weight, *vectors in normed(template):  # which go with their weight
            if path.spectral.issuperset(vectors):
                chosen = chosen.union(vectors) if weight in chosen else chosen.difference(vectors)
        self.names = frozenset(chosen)
        if not self.names:
            raise GroupError("The group is empty, so nothing would move. Name at least one tensor.")
        for name in self.names:
            if name not in template:
                raise GroupError(f"The path has no tensor {name!r}. {suggest(name, template)}")
        self.fixed = path.at(1.0) if fixed is None else as_state(fixed, "The network that is held fixed")
        if fixed is not None:
            check_pair(template, self.fixed)

    def __repr__(self) -> str:
        return f"Only({self.path!r}, {abbreviate(sorted(self.names), 3)})"

    @property
    def template(self) -> State:
        """The fixed state."""
        return self.fixed

    @cached_property
    def moving(self) -> frozenset[str]:
        """The chosen tensors, as far as they move on the path."""
        return self.names & self.path.moving

    @property
    def straight(self) -> bool:
        """Whether the path that the tensors move on is straight."""
        return self.path.straight

    @property
    def given_by_ends(self) -> bool:
        """Whether the path that the tensors move on is."""
        return self.path.given_by_ends

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Those of the path that the tensors move on."""
        return self.path.unsaved

    @cached_property
    def spectral(self) -> frozenset[str]:
        """Those of the chosen weights."""
        return self.names & self.path.spectral

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The path's tensor if it was chosen, else the fixed one."""
        return self.path.tensor(name, alpha) if name in self.names else self.fixed[name]

    def segment(self, name: str) -> Segment | None:
        """Those on the path that the chosen tensors move on."""
        return self.path.segment(name) if name in self.names else None

    def describe(self) -> dict[str, object]:
        """The path for the provenance of a result, and where the others are: ``end``, ``start`` or ``elsewhere``."""
        others = [name for name in self.fixed if name not in self.names]
        ends = [
            end
            for end, alpha in (("end", 1.0), ("start", 0.0))
            if all(identical(self.fixed[name], self.path.tensor(name, alpha)) for name in others)
        ]
        return {**super().describe(), "of": type(self.path).__name__, "rest": ends[0] if ends else "elsewhere"}


class Ray(Path):
    """The ray ``theta(alpha) = origin + alpha * direction``, as in a random direction.

    Tensors that `direction` leaves out are held fixed at the origin, and so are those whose direction is zero.

    Raises:
        StateError: a direction's tensor is unknown, has another shape, is not finite, or is not zero where the origin
            cannot move: integers, or a complex direction of real weights; or the origin is not finite where it moves.
    """

    def __init__(self, origin: Network, direction: Mapping[str, Tensor]) -> None:
        origin = as_state(origin, "The origin")
        check_type(direction, Mapping, "The direction", "Give tensors by name, such as difference(end, start).")
        for name, value in direction.items():
            if name not in origin:
                raise StateError(f"The direction has a tensor {name!r} that the origin lacks. {suggest(name, origin)}")
            if value.shape != origin[name].shape:
                raise StateError(
                    f"The direction's {name!r} has shape {tuple(value.shape)}, the origin's "
                    f"{tuple(origin[name].shape)}. A direction needs the shapes of its origin."
                )
            if not is_finite(value):
                raise StateError(f"The direction's {name!r} holds NaN or infinity, so no point of the ray is finite.")
            dtype = origin[name].dtype
            if bool(value.any()) and (not is_continuous(dtype) or (value.is_complex() and not dtype.is_complex)):
                raise StateError(
                    f"The direction's {name!r} is not zero ({value.dtype}), but the origin's is {dtype}, which cannot "
                    "move that way. Leave it out of the direction."
                )
        self.origin, self.direction = origin, direction
        check_finite(origin, "The origin", self.moving)

    @property
    def template(self) -> State:
        """The origin."""
        return self.origin

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors whose direction is not zero, and the singular vectors of such weights."""
        return self._moved | self.spectral

    @cached_property
    def _moved(self) -> frozenset[str]:
        return frozenset(name for name, value in self.direction.items() if bool(value.any()))

    @cached_property
    def spectral(self) -> frozenset[str]:
        """The vectors of the weights that move."""
        return frozenset(self._vectors.of)

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors((of for of in normed(self.origin) if of.weight in self._moved), self.origin)

    def tensor(self, name: str, alpha: float) -> Tensor:
        """``origin + alpha * direction`` of one tensor; half precision is computed in float32 and rounded once."""
        if alpha and name in self._vectors.of:
            return self._vectors.find(name, alpha, lambda other: self._on_ray(other, alpha))
        return self._on_ray(name, alpha)

    def _on_ray(self, name: str, alpha: float) -> Tensor:
        origin = self.origin[name]
        if name not in self._moved or alpha == 0.0:
            return origin
        wide = widened(origin)
        return torch.add(wide, self.direction[name].to(wide.dtype), alpha=alpha).to(origin.dtype)


class Bend(Path):
    """Straight pieces through several states; by default at equally spaced alphas from 0 to 1.

    Before the first and after the last position the outer pieces are continued straight.

    Raises:
        StateError: states do not fit together or are not finite.
        AlphaError: `positions` do not rise from 0 to 1, one for each state.
    """

    def __init__(self, states: Sequence[Network], positions: Sequence[float] | None = None) -> None:
        check_type(states, Sequence, "The value of states", "Give a list of networks.")
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
        """Names of the tensors that move on any piece."""
        return frozenset().union(*(piece.moving for piece in self.pieces))

    @cached_property
    def unsaved(self) -> tuple[str, ...]:
        """Names of what differs between the networks of any piece and no state dict holds."""
        return tuple(dict.fromkeys(name for piece in self.pieces for name in piece.unsaved))

    @cached_property
    def spectral(self) -> frozenset[str]:
        """Names of the singular vectors of spectral norm that are found anew on any piece."""
        return frozenset().union(*(piece.spectral for piece in self.pieces))

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The tensor on the piece around alpha; bit-exact at each state."""
        index = max(i for i, position in enumerate(self.positions[:-1]) if i == 0 or position <= alpha)
        left, right = self.positions[index], self.positions[index + 1]
        inner = 1.0 if alpha == right else (alpha - left) / (right - left)
        return self.pieces[index].tensor(name, inner)


def check_alpha(alpha: float) -> None:
    """Raise `AlphaError` if a position is not a number that float32 can hold."""
    if not abs(alpha) <= torch.finfo(torch.float32).max:
        raise AlphaError(
            f"alpha is {alpha}, which is no position on a path. Give a finite number; 0 is the start, 1 the end."
        )
