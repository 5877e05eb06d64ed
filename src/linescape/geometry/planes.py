"""Planes through the space of states: two coordinates give a state, and each row of positions is a path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from linescape.errors import RecipeError, StateError
from linescape.geometry.directions import Normalisation, components, random_directions
from linescape.geometry.given import Network, as_state
from linescape.geometry.left_out import differing
from linescape.geometry.packed import check_not_packed
from linescape.geometry.paths import Path
from linescape.geometry.spectral_norm import Vectors, normed
from linescape.geometry.state import State, check_finite, check_pair, negative_variances
from linescape.geometry.tensors import chunks, identical, in_float64, is_continuous, real, subtract, widened

MARGIN = 0.25
"""How far the grid of three networks reaches beyond them, relative to its width and height."""

_FLAT = 1e-3
"""Height of a triangle, relative to its longest side, below which three networks are taken to lie on one line."""


class Plane:
    """The plane through three networks, in coordinates in which distances are true.

    Source: Garipov et al. 2018 (arXiv 1802.10026), appendix A.1, in units of the distance from `a` to `b`: `a` is at
    (0, 0), `b` at (1, 0) and `c` where its distances to both are those of the parameters, above the line between them.
    Each position is computed from the three, which are bit-exact at their places. Running statistics lie in the same
    plane. Integers are each network's own at its place, elsewhere those of `a`.

    Args:
        a: the network at (0, 0): a module, a state dict (where one of the three is a module) or a `State`.
        b: the network at (1, 0).
        c: the third network.
        names: of the three, for figures and tables.

    Attributes:
        marks: name of each network -> its coordinates (x, y).
        unit: distance of the parameters that a coordinate of 1 stands for; for random directions 1.

    Raises:
        StateError: the states do not fit together; what differs holds NaN or infinity or cannot be interpolated; or
            the parameters of the three lie on one line.
    """

    marks: Mapping[str, tuple[float, float]]
    unit: float

    def __init__(self, a: Network, b: Network, c: Network, *, names: Sequence[str] = ("a", "b", "c")) -> None:
        if len({*names}) != 3:
            raise StateError(f"The three networks are named {list(names)}. Give each a name of its own.")
        module = next((network for network in (a, b, c) if isinstance(network, nn.Module)), None)
        a, b, c = (as_state(each, f"The network {name!r}", module) for each, name in zip((a, b, c), names, strict=True))
        check_pair(a, b)
        check_pair(a, c)
        self._states = (a, b, c)
        varying = frozenset(name for name in a if any(not identical(x[name], y[name]) for x, y in self._pairs))
        check_not_packed(a, varying)
        for name, state in zip(names, self._states, strict=True):
            check_finite(state, f"The network {name!r}", varying)
        self._varying = varying
        across, along, height = _corner(a, b, c)
        if not across or not height > _FLAT * max(across, math.hypot(along, height)):
            raise StateError(
                f"The parameters of the networks {', '.join(names)} lie on one line, or two are equal, so there is no "
                "plane through them. Measure the line between two of them, or name another network."
            )
        self.unit = across
        self.marks = dict(zip(names, ((0.0, 0.0), (1.0, 0.0), (along / across, height / across)), strict=True))

    def __repr__(self) -> str:
        return f"Plane({', '.join(self.marks)}: {self.origin!r})"

    @staticmethod
    def random(a: Network, normalise: Normalisation = "filter", seed: int = 0, name: str = "a") -> Plane:
        """The plane around one network in two random directions: ``theta(x, y) = a + x d1 + y d2``.

        Source: Li et al. 2018 (arXiv 1712.09913), section 4, and its code. The directions are Gaussian. With
        ``filter`` each filter (all weights of one output of a layer: the slices of a tensor along its first axis) is
        scaled to the norm of this filter in the network; with ``layer`` each tensor is; with ``none`` nothing is. In
        each case parameters with one axis or none (biases, and weights of BatchNorm) and all buffers (running
        statistics) stay as they are, as in that code by default. The two directions are not made
        orthogonal, and nearly are. Such a plane is one draw of many: another seed shows another one.

        Args:
            a: the network at (0, 0).
            normalise: ``filter``, ``layer`` or ``none``.
            seed: of the directions, which are the same on every machine.
            name: of the network, for figures and tables.

        Raises:
            RecipeError: there is no such normalisation.
            StateError: no parameter has two axes, or one that would move holds NaN or infinity.
        """
        a = as_state(a, "The network")
        directions = random_directions(a, normalise, seed)
        of_plane = {"plane": "in two random directions", "normalise": normalise, "seed": seed}
        return _Spanned(a, directions, name, of_plane)

    @staticmethod
    def principal(states: Mapping[str, Network]) -> Plane:
        """The plane through the last state of a training, in the two directions in which its states vary most.

        Source: Li et al. 2018 (arXiv 1712.09913), section 7; Lorch 2016: the first two principal components of the
        parameters of all states about their mean. Coordinates are distances from the last state. All buffers (running
        statistics) are the last state's everywhere: with BatchNorm, measure ``recalibrate``.

        The training does not move in this plane: only the last state lies in it, and what is measured under the place
        of another one is not that state's loss. ``beside`` in the provenance says how far from it each is. Two
        components have most of the variance of any long walk: of a random one 61 and 15 % (Antognini & Sohl-Dickstein
        2018, arXiv 1806.08805).

        Args:
            states: of one training by name, in order; all are read at once.

        Raises:
            StateError: the states do not fit together, hold NaN or infinity, or vary in fewer than two directions.
        """
        module = next((network for network in states.values() if isinstance(network, nn.Module)), None)
        given = {name: as_state(state, f"The network {name!r}", module) for name, state in states.items()}
        if not given:
            raise StateError("There are no states, so there is no plane. Give three or more of one training.")
        name, last = list(given.items())[-1]
        for other, state in given.items():
            check_pair(last, state)
            check_finite(state, f"The network {other!r}", state.parameters)
        check_not_packed(last, last.parameters)
        found = components(list(given.values()))
        of_plane = {
            "plane": "in the first two principal components of the states of a training",
            "states": {
                of: [*place, beside]
                for of, place, beside in zip(given, found.places.tolist(), found.beside.tolist(), strict=True)
            },
            "shares": found.shares.tolist(),
        }
        return _Spanned(last, found.directions, name, of_plane, found.places)

    @property
    def origin(self) -> State:
        """The network at (0, 0)."""
        return self._states[0]

    @property
    def moving(self) -> frozenset[str]:
        """Tensors that are not the same everywhere in the plane."""
        return self._varying

    @cached_property
    def moving_along_x(self) -> frozenset[str]:
        """Tensors that are not the same everywhere in a row."""
        a, b, _ = self._states
        whole = {name for name in self._varying if not is_continuous(a[name].dtype)}
        return frozenset(name for name in self._varying if name in whole or not identical(a[name], b[name]))

    @cached_property
    def unsaved(self) -> tuple[str, ...]:
        """Names of what differs between the networks and no state dict holds; see `geometry.left_out`."""
        return tuple(
            dict.fromkeys(
                name
                for x, y in self._pairs
                if x.unsaved is not None and y.unsaved is not None
                for name in differing(x.unsaved, y.unsaved)
            )
        )

    @property
    def _pairs(self) -> list[tuple[State, State]]:
        return list(combinations(self._states, 2))

    @cached_property
    def vectors(self) -> Vectors:
        """The singular vectors of the weights that move, which are found anew; see `geometry.spectral_norm`."""
        weights = (of for of in normed(self.origin) if of.weight in self.moving)
        return Vectors(weights, *self._states)

    def grid(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates x ``(n,)`` and y ``(m,)`` of a grid around the networks, each of which is on it.

        At least `points` each, equally spaced, and besides those of the networks.
        """
        axes = []
        for values in zip(*self.marks.values(), strict=True):
            reach = (max(values) - min(values)) * MARGIN
            axes.append(_axis(min(values) - reach, max(values) + reach, points, values))
        return axes[0], axes[1]

    def tensor(self, name: str, x: float, y: float) -> Tensor:
        """One tensor at a position; possibly shared with a network, so not to be written to."""
        of_b, of_c = self._weights(x, y)
        a, b, c = (state[name] for state in self._states)
        if name not in self._varying:
            return a
        if (of_b, of_c) in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
            return c if of_c else b if of_b else a
        if name in self.vectors.of:
            return self.vectors.find(name, complex(x, y), lambda other: self._combined(other, of_b, of_c))
        return self._combined(name, of_b, of_c) if is_continuous(a.dtype) else a

    def at(self, x: float, y: float) -> State:
        """The whole state at a position; at a network's, it shares its tensors."""
        return self.origin.replace({name: self.tensor(name, x, y) for name in self.origin})

    def row(self, y: float, xs: Sequence[float]) -> Row:
        """The path from the first to the last of some positions at one y."""
        return Row(self, y, xs)

    def measurable(self, y: float, xs: Sequence[float]) -> list[float]:
        """Those of some positions, rising, at which no running variance is below zero: outside of the triangle of the
        networks some may be, and then there is no network. They are neighbours."""
        names = [name for name in self.moving if name.rpartition(".")[2] == "running_var"]
        return [x for x in xs if not negative_variances({name: self.tensor(name, x, y) for name in names})]

    def describe(self) -> dict[str, object]:
        """The plane for the provenance of a result (JSON-able)."""
        continuous = {name for name, value in self.origin.items() if is_continuous(value.dtype)}
        return {
            "plane": "through three networks",
            "marks": {name: list(place) for name, place in self.marks.items()},
            "unit": self.unit,
            "moving": len(self.moving & continuous),
            "at_rest": sorted(continuous - self.moving),
            "not_interpolated": sorted({*self.origin, *self.origin.opaque} - continuous),
            **({"found_anew": sorted(self.vectors.of)} if self.vectors.of else {}),
        }

    def _weights(self, x: float, y: float) -> tuple[float, float]:
        """The coefficients of ``b - a`` and ``c - a``; exactly 0 and 1 at the networks."""
        *_, (along, height) = self.marks.values()
        of_c = y / height
        return x - along * of_c, of_c

    def _combined(self, name: str, of_b: float, of_c: float) -> Tensor:
        a, b, c = (state[name] for state in self._states)
        moved = torch.add(widened(a), subtract(b, a).to(widened(a).dtype), alpha=of_b)
        return torch.add(moved, subtract(c, a).to(moved.dtype), alpha=of_c).to(a.dtype)


class _Spanned(Plane):
    """Around one network in two directions; `places` are shown, besides the network's."""

    def __init__(
        self,
        a: State,
        directions: Sequence[Mapping[str, Tensor]],
        name: str,
        of_plane: Mapping[str, object],
        places: np.ndarray | None = None,
    ) -> None:
        self._directions, self._of_plane, self._places = directions, of_plane, places
        self._states, self._varying = (a, a, a), frozenset(directions[0])
        self.marks, self.unit = {name: (0.0, 0.0)}, 1.0

    @property
    def moving_along_x(self) -> frozenset[str]:
        return self._varying | frozenset(self.vectors.of)

    @property
    def moving(self) -> frozenset[str]:
        return self._varying

    def grid(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        if self._places is None:
            axis = _axis(-1.0, 1.0, points, (0.0,))
            return axis, axis
        reach = np.ptp(self._places, axis=0) * MARGIN
        low, high = self._places.min(0) - reach, self._places.max(0) + reach
        x, y = (_axis(float(low[k]), float(high[k]), points, (0.0,)) for k in range(2))
        return x, y

    def tensor(self, name: str, x: float, y: float) -> Tensor:
        if (x, y) != (0.0, 0.0) and name in self.vectors.of:
            return self.vectors.find(name, complex(x, y), lambda other: self._combined(other, x, y))
        return self._combined(name, x, y) if name in self._varying and (x, y) != (0.0, 0.0) else self.origin[name]

    def _combined(self, name: str, of_b: float, of_c: float) -> Tensor:
        moved = widened(self.origin[name])
        if name not in self._varying:
            return self.origin[name]
        for direction, amount in zip(self._directions, (of_b, of_c), strict=True):
            moved = torch.add(moved, direction[name].to(moved.dtype).to(moved.device), alpha=amount)
        return moved.to(self.origin[name].dtype)

    def describe(self) -> dict[str, object]:
        return {**super().describe(), **self._of_plane}


class InPlane(Path):
    """A path whose networks all lie in one plane."""

    plane: Plane

    @property
    def template(self) -> State:
        """The plane's origin."""
        return self.plane.origin

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Those of the plane."""
        return self.plane.unsaved

    @property
    def spectral(self) -> frozenset[str]:
        """Those of the plane."""
        return frozenset(self.plane.vectors.of)


class Row(InPlane):
    """The positions of a plane at one y, from the first x (alpha = 0) to the last (alpha = 1).

    Attributes:
        alphas: of the given positions; each is mapped back to its x exactly.
    """

    def __init__(self, plane: Plane, y: float, xs: Sequence[float]) -> None:
        self.plane, self.y = plane, y
        first, last = xs[0], xs[-1]
        self._x = {(x - first) / (last - first): x for x in xs}
        self.alphas = tuple(self._x)

    @property
    def moving(self) -> frozenset[str]:
        """Tensors that are not the same everywhere in the row."""
        return self.plane.moving_along_x | self.spectral

    @property
    def straight(self) -> bool:
        """True but with spectral norm."""
        return not self.spectral

    @property
    def given_by_ends(self) -> bool:
        """Always true."""
        return True

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The plane's tensor at this position of the row."""
        first, last = self._x[0.0], self._x[1.0]
        x = self._x.get(alpha, first + alpha * (last - first))
        return self.plane.tensor(self.template.tied.get(name, name), x, self.y)


def _corner(a: State, b: State, c: State) -> tuple[float, float, float]:
    """Distance of the parameters from a to b; of c from a along this direction; and of c from the line."""
    squares = np.zeros(3)
    for name in a.parameters:
        if is_continuous(a[name].dtype):
            for chunk in chunks(a[name], b[name], c[name]):
                start, first, second = (in_float64(real(value)) for value in chunk)
                # An infinity that all share, as in a mask, is no distance.
                to_b, to_c = (torch.where(end == start, 0.0, end - start) for end in (first, second))
                squares += [float((x * y).sum()) for x, y in ((to_b, to_b), (to_b, to_c), (to_c, to_c))]
    of_b, of_both, of_c = squares.tolist()
    across = math.sqrt(of_b)
    along = of_both / across if across else 0.0
    return across, along, math.sqrt(max(0.0, of_c - along * along))


def _axis(low: float, high: float, points: int, marks: Sequence[float]) -> np.ndarray:
    """At least `points` rising positions, `marks` among them: the equally spaced ones that nearly are one give way."""
    if points < 2:
        raise RecipeError(f"A grid of {points} positions a side shows no surface. Ask for 2 or more; 25 are usual.")
    even = np.linspace(low, high, points)
    exact = sorted({0.0 if mark == 0.0 else mark for mark in marks})
    spacing = (high - low) / (points - 1)
    inner = [x for x in even[1:-1] if min(abs(x - mark) for mark in exact) > 0.25 * spacing]
    return np.array(sorted({low, high, *inner, *exact}))
