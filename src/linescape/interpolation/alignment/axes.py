"""Axes of tensors that have to be permuted together, as sets that are joined one after another."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Axis = tuple[int, int] | None
"""One axis: a set and how many neighbours on the axis belong to each of its units (after flattening images, height
times width); None where the order is fixed."""


class Axes:
    """Disjoint sets of axes; the units of a set are permuted together.

    Attributes:
        sizes: number of units of each set.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._parents: list[tuple[int, int] | None] = []
        self._fixed: dict[int, str] = {}

    def new(self, size: int) -> Axis:
        """An axis of its own; None for a single unit, which has one order only."""
        if size < 2:
            return None
        self.sizes.append(size)
        self._parents.append(None)
        return len(self.sizes) - 1, 1

    def find(self, axis: Axis) -> Axis:
        """The set that an axis is in now, and its neighbours for each unit there; None where its order is fixed."""
        if axis is None:
            return None
        number, inner = self._root(axis)
        return None if number in self._fixed else (number, inner)

    def _root(self, axis: tuple[int, int]) -> tuple[int, int]:
        number, inner = axis
        while (parent := self._parents[number]) is not None:
            number, inner = parent[0], parent[1] * inner
        return number, inner

    def fix(self, axis: Axis, reason: str) -> None:
        """The order of an axis, and so of all in its set, cannot be changed."""
        if axis is not None:
            self._fixed.setdefault(self._root(axis)[0], reason)

    def reason(self, axis: Axis) -> str:
        """Why the order of an axis is fixed."""
        return "" if axis is None else self._fixed.get(self._root(axis)[0], "")

    def join(self, left: Axis, right: Axis, reason: str) -> Axis:
        """Two axes of one length have to have one order; where they cannot be in one set, it is fixed."""
        if left is None or right is None:
            self.fix(left or right, reason)
            return None
        (one, of_one), (two, of_two) = self._root(left), self._root(right)
        if of_one < of_two:
            (one, of_one), (two, of_two) = (two, of_two), (one, of_one)
        fit = of_one % of_two == 0 and self.sizes[one] * of_one == self.sizes[two] * of_two
        if one == two or not fit:
            if (one, of_one) != (two, of_two):
                self.fix((one, 1), reason)
                self.fix((two, 1), reason)
        else:
            self._parents[two] = one, of_one // of_two
            if two in self._fixed:
                self._fixed.setdefault(one, self._fixed[two])
        return self.find(left)

    def reshaped(self, axes: Sequence[Axis], before: Sequence[int], after: Sequence[int], reason: str) -> list[Axis]:
        """The axes of a tensor in another shape.

        Axes that become one keep the units of the first, whose neighbours the others become. One axis that becomes
        several gives its units to the first of them if the others only tell the neighbours of one unit apart.

        Args:
            axes: of the tensor.
            before: its shape.
            after: its new shape.
            reason: why an order is fixed that this does not keep.
        """
        result: list[Axis] = []
        start = 0
        for first, last in _groups(before, after):
            old = [(axes[i], before[i]) for i in range(start, first) if before[i] != 1]
            sides = after[len(result) : last]
            start = first
            new: list[Axis] = [None] * len(sides)
            wide = [i for i, side in enumerate(sides) if side != 1]
            for axis, _ in old[1:]:
                self.fix(axis, reason)
            if old and wide and (leading := self.find(old[0][0])) is not None:
                number, inner = leading
                others = prod(side for _, side in old[1:]) * inner
                apart = prod(sides[i] for i in wide[1:])
                if others % apart == 0 and 1 in (len(old), len(wide)):
                    new[wide[0]] = number, others // apart
                else:
                    self.fix(leading, reason)
            result += new
        return result


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[int, int]]:
    """Where two shapes with the same number of elements can be cut alike: ends in each of the smallest parts."""
    cuts = []
    i = j = 0
    left = right = 1
    while i < len(before) or j < len(after):
        if left == right and left != 1:
            cuts.append((i, j))
            left = right = 1
        elif left <= right and i < len(before):
            left, i = left * before[i], i + 1
        elif j < len(after):
            right, j = right * after[j], j + 1
        else:
            left, i = left * before[i], i + 1
    return [*cuts, (len(before), len(after))]
