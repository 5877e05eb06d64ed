"""Tour: all positions of a grid in a plane as one walk, so that it is resumed and divided as any walk is."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from linescape.errors import StateError
from linescape.geometry.planes import InPlane, Plane


class Tour(InPlane):
    """Visits the positions of a plane's grid row by row; visit k of K is at alpha = k / (K - 1).

    Args:
        plane: what is visited.
        points: least number of positions on each side, as for `Plane.grid`.
        measurable: leave out positions that have no network, as running variances would be below zero there.

    Attributes:
        xs: first coordinates of the grid ``(n,)``.
        ys: second coordinates of the grid ``(m,)``.
        places: (x, y) of each visit.

    Raises:
        StateError: fewer than two positions have a network.
        RecipeError: there are fewer than two points.
    """

    def __init__(self, plane: Plane, points: int, measurable: bool = False) -> None:
        self.plane = plane
        self.xs, self.ys = plane.grid(points)
        columns = self.xs.tolist()
        self.places = [
            (x, y) for y in self.ys.tolist() for x in (plane.measurable(y, columns) if measurable else columns)
        ]
        if len(self.places) < 2:
            raise StateError(
                "Running variances of BatchNorm are below zero in the networks themselves, so none can be measured."
            )

    @property
    def positions(self) -> tuple[float, ...]:
        """The alpha of each visit, from 0 to 1."""
        return tuple(number / (len(self.places) - 1) for number in range(len(self.places)))

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors that are not the same everywhere in the plane."""
        return self.plane.moving | self.spectral

    def tensor(self, name: str, alpha: float) -> Tensor:
        """The plane's tensor at the visit nearest to a position."""
        x, y = self.places[min(max(round(alpha * (len(self.places) - 1)), 0), len(self.places) - 1)]
        return self.plane.tensor(self.template.tied.get(name, name), x, y)

    def describe(self) -> dict[str, object]:
        """The plane for the provenance of a result."""
        return {"path": "every position of a plane", **self.plane.describe()}
