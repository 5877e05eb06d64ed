"""Choosing permutations: by weights, or by activations (Ainsworth et al. 2023, arXiv 2209.04836).

Each permutation for itself is a linear assignment problem, which scipy solves exactly. All together are not: by weights
they are found one after another until none improves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, fx

from linescape.errors import DataError
from linescape.geometry.state import State
from linescape.geometry.tensors import real
from linescape.interpolation.alignment.units import Member, Permutations, Structure, Units, permuted, run

_MOST_SWEEPS = 100


def by_weights(structure: Structure, reference: State, other: State) -> dict[str, np.ndarray]:
    """The permutations of `other` that make the sum of products of its parameters and `reference`'s large.

    That is Ainsworth et al.'s section 3.2, or nearest in Euclidean distance. Buffers do not count. Found by coordinate
    ascent in the order of the network, from two starts: as the units are, and as they are found layer by layer,
    each by the weights from units that have been found before. The better end is returned, so it is never worse than
    none.
    """
    ascent = _Ascent(structure, reference, other)
    starts = ascent.identity(), ascent.layer_by_layer()
    return max(map(ascent.climb, starts), key=ascent.value)


class _Ascent:
    def __init__(self, structure: Structure, reference: State, other: State) -> None:
        self._units = [
            (units, [member for member in units.members if member.name in reference.parameters])
            for units in structure.units
        ]
        self._of = {name: axes for name, axes in structure.by_tensor.items() if name in reference.parameters}
        self._reference, self._other = (
            {name: real(state[name].detach()).cpu() for name in self._of} for state in (reference, other)
        )

    def identity(self) -> dict[str, np.ndarray]:
        """All units as they are."""
        return {units.label: np.arange(units.count) for units, _ in self._units}

    def layer_by_layer(self) -> dict[str, np.ndarray]:
        """Each of the units by those weights only whose other axes are fixed or have been found before."""
        orders, found = self.identity(), set[str]()
        for units, members in self._units:
            known = [
                member
                for member in members
                if all(other.label in found for other, axis in self._of[member.name] if axis != member)
            ]
            if known:
                orders[units.label] = _assigned(self._products(units, known, orders))
            found.add(units.label)
        return orders

    def climb(self, orders: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Improve one permutation after another until none improves."""
        for _ in range(_MOST_SWEEPS):
            improved = False
            for units, members in self._units:
                products = self._products(units, members, orders)
                best = _assigned(products)
                rows = np.arange(units.count)
                gain = products[rows, best].sum() - products[rows, orders[units.label]].sum()
                if gain > 1e-9 * np.abs(products[rows, best]).sum():
                    before = orders
                    orders = {**orders, units.label: best}
                    # Where units lie on two axes of one tensor, the gain is that of one of them.
                    if self._on_two_axes(members) and self.value(orders) <= self.value(before):
                        orders = before
                    else:
                        improved = True
            if not improved:
                break
        return orders

    def value(self, orders: Permutations) -> float:
        """The sum of products of all parameters that can be permuted."""
        return sum(
            float((self._reference[name].double() * self._permuted(name, orders, None).double()).sum())
            for name in self._reference
        )

    def _on_two_axes(self, members: Sequence[Member]) -> bool:
        return len({member.name for member in members}) < len(members)

    def _products(self, units: Units, members: Iterable[Member], orders: Permutations) -> np.ndarray:
        """For each place and each unit, the sum of products if this unit came there ``(count, count)``."""
        total = torch.zeros(units.count, units.count, dtype=torch.float64)
        for member in members:
            left, right = self._reference[member.name], self._permuted(member.name, orders, member)
            total += (
                _by_unit(left.double(), member.axis, units.count) @ _by_unit(right.double(), member.axis, units.count).T
            )
        return total.numpy()

    def _permuted(self, name: str, orders: Permutations, but: Member | None) -> Tensor:
        axes = [(member, orders[units.label]) for units, member in self._of[name] if member != but]
        return permuted(self._other[name], axes)


def by_activations(
    structure: Structure, reference: State, other: State, calls: Iterable[Sequence[Tensor]]
) -> dict[str, np.ndarray]:
    """The permutations of `other` that make its units' activations correlate with those of `reference`.

    That is Ainsworth et al.'s section 3.1, with correlations as in Jordan et al. 2022 (arXiv 2211.08403): the sum over
    all results in the network with these units (before and after normalisation, nonlinearity and addition) of the
    correlation across examples and positions. A unit that is constant correlates with none.

    Args:
        structure: of both.
        reference: the network that is matched.
        other: the network whose units are permuted.
        calls: tensors of calls.

    Raises:
        DataError: there are fewer than two examples.
    """
    places = [(number, value) for number, units in enumerate(structure.units) for value in units.values]
    wanted: dict[fx.Node, list[tuple[int, int]]] = {node: [] for _, (node, _, _) in places}
    for number, (node, axis, _) in places:
        wanted[node].append((number, axis))
    sums: dict[tuple[fx.Node, int], _Moments] = {}
    for inputs in calls:
        read = ({**structure.unsaved, **state.state_dict()} for state in (reference, other))
        results = [run(structure.graph, tensors, inputs) for tensors in read]
        for (node, left), (_, right) in zip(*results, strict=True):
            for number, axis in wanted.get(node, ()):
                count = structure.units[number].count
                pair = [_by_unit(real(values[node]), axis, count) for values in (left, right)]
                sums.setdefault((node, axis), _Moments(count)).add(*pair)
    if any(moments.number < 2 for moments in sums.values()) or not sums:
        raise DataError(
            "Activations are matched by how they vary from example to example, and there are fewer than two. Give more "
            "examples, or align by weights."
        )
    orders = {}
    for units in structure.units:
        of_units = [sums[node, axis].correlations() for node, axis, _ in units.values if (node, axis) in sums]
        orders[units.label] = _assigned(sum(of_units)) if of_units else np.arange(units.count)  # type: ignore[arg-type]
    return orders


class _Moments:
    """Sums from which the correlation of each unit of one network with each of another follows."""

    def __init__(self, count: int) -> None:
        self.number = 0
        self.centre: tuple[Tensor, Tensor] | None = None
        self.means = [torch.zeros(count, dtype=torch.float64) for _ in range(2)]
        self.squares = [torch.zeros(count, dtype=torch.float64) for _ in range(2)]
        self.products = torch.zeros(count, count, dtype=torch.float64)

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add activations ``(count, positions)`` of both networks."""
        pair = left.cpu().double(), right.cpu().double()
        if self.centre is None:  # numbers around their mean lose no digits
            self.centre = pair[0].mean(1, keepdim=True), pair[1].mean(1, keepdim=True)
        pair = pair[0] - self.centre[0], pair[1] - self.centre[1]
        self.number += left.shape[1]
        for which, values in enumerate(pair):
            self.means[which] += values.sum(1)
            self.squares[which] += values.square().sum(1)
        self.products += pair[0] @ pair[1].T

    def correlations(self) -> np.ndarray:
        """``(count, count)``; 0 where a unit is constant."""
        means = [total / self.number for total in self.means]
        deviations = [
            (squares / self.number - mean.square()).clamp(min=0).sqrt()
            for squares, mean in zip(self.squares, means, strict=True)
        ]
        covariance = self.products / self.number - means[0][:, None] * means[1]
        scale = deviations[0][:, None] * deviations[1]
        result = torch.where(scale > 0, covariance / scale.clamp(min=1e-300), 0.0)
        return np.asarray(np.nan_to_num(result.numpy(), posinf=0.0, neginf=0.0))


def _by_unit(tensor: Tensor, axis: int, count: int) -> Tensor:
    """All numbers of each unit in a row ``(count, n)``; neighbours of one unit belong to it."""
    return tensor.movedim(axis, 0).reshape(count, -1)


def _assigned(gains: np.ndarray) -> np.ndarray:
    """For each place the unit that comes there, so that the sum of gains is largest."""
    from scipy.optimize import linear_sum_assignment  # takes a tenth of a second to import

    return np.asarray(linear_sum_assignment(gains, maximize=True)[1])
