from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from linescape.interpolation.alignment.axes import Axes, Axis


def ordered(array: np.ndarray, axes: Sequence[Axis], orders: dict[int, np.ndarray]) -> np.ndarray:
    """An array with the units on its axes in another order, straight from the definition."""
    for place, axis in enumerate(axes):
        if axis is not None:
            number, inner = axis
            order = [unit * inner + offset for unit in orders[number] for offset in range(inner)]
            array = np.take(array, order, axis=place)
    return array


SHAPES = [
    ((3, 4, 2, 2), (3, 16)),
    ((3, 4, 1, 1), (3, 4)),
    ((3, 4), (3, 4, 1, 1)),
    ((3, 16), (3, 4, 4)),
    ((3, 4, 4), (3, 16)),
    ((12, 5), (3, 4, 5)),
    ((2, 6, 4), (2, 4, 6)),
    ((1, 6), (6,)),
    ((4, 6), (8, 3)),
]


@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_a_reshaped_tensor_in_another_order_is_the_permuted_one_reshaped(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    for inners in itertools.product((0, 1, 2, 4), repeat=len(before)):  # 0: the order is fixed
        axes = Axes()
        own: list[Axis] = []
        for side, inner in zip(before, inners, strict=True):
            new = axes.new(side // inner) if inner and side % inner == 0 else None
            own.append(None if new is None else (new[0], inner))
        result = axes.reshaped(own, before, after, "test")
        assert len(result) == len(after)
        generator = np.random.default_rng(0)
        orders = {
            number: generator.permutation(size) if axes.find((number, 1)) else np.arange(size)
            for number, size in enumerate(axes.sizes)
        }
        array = np.arange(math.prod(before)).reshape(before)
        found = ordered(array.reshape(after), [axes.find(axis) for axis in result], orders)
        assert np.array_equal(found, ordered(array, own, orders).reshape(after))


def test_joined_axes_share_a_set_with_neighbours_kept() -> None:
    axes = Axes()
    wide, flat, other = axes.new(4), axes.new(12), axes.new(12)
    assert wide
    axes.join((wide[0], 3), flat, "")  # flattened
    axes.join(other, flat, "")
    assert axes.find(other) == axes.find(flat) == (wide[0], 3)
    axes.fix(other, "because")
    assert axes.find(wide) is None
    assert axes.reason(flat) == "because"


def test_what_cannot_be_one_order_is_fixed() -> None:
    axes = Axes()
    two, three = axes.new(6), axes.new(4)
    assert two
    assert three
    axes.join((two[0], 2), (three[0], 3), "neighbours that overlap")
    assert axes.find(two) is None
    assert axes.find(three) is None
    assert axes.new(1) is None
    again = axes.new(3)
    axes.join(again, None, "meets a fixed one")
    assert axes.find(again) is None
