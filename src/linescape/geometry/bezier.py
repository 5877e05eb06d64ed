"""Quadratic Bezier curves between two networks."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from linescape.geometry.given import Network
from linescape.geometry.paths import Line, Path
from linescape.geometry.spectral_norm import Vectors, normed
from linescape.geometry.state import State
from linescape.geometry.tensors import is_continuous, widened


def coefficients(alpha: float) -> tuple[float, float, float]:
    """The shares of start, bend and end at a position: ``(1 - alpha)^2, 2 alpha (1 - alpha), alpha^2``."""
    return (1.0 - alpha) ** 2, 2.0 * alpha * (1.0 - alpha), alpha**2


class Bezier(Path):
    """``theta(alpha) = (1 - alpha)^2 start + 2 alpha (1 - alpha) bend + alpha^2 end``.

    Source: Garipov et al. 2018 (arXiv 1802.10026), who train the bend so that the loss along the curve is low; see
    `training.curves.curve_between`. The curve leaves the start towards the bend and comes to the end from there, but
    does not pass through the bend. What is equal in all three stays; integers are the start's at alpha = 0, else the
    end's. Running statistics move on the curve too, and fit no network on it, so measure it with those re-estimated at
    each position (the treatment ``recalibrate``). Between the ends, singular vectors of spectral norm are those of the
    weight there.

    Args:
        start: the network at alpha = 0.
        bend: the control point.
        end: the network at alpha = 1.

    Raises:
        StateError: as `Line`, of the bend too.
    """

    def __init__(self, start: Network, bend: Network, end: Network) -> None:
        first, last = Line(start, bend), Line(bend, end)
        self.start, self.bend, self.end = first.start, first.end, last.end
        self._pieces = first, last

    @property
    def template(self) -> State:
        """The end."""
        return self.end

    @cached_property
    def moving(self) -> frozenset[str]:
        """Tensors that are not equal in all three, and the singular vectors of such weights."""
        return self._pieces[0].moving | self._pieces[1].moving

    @cached_property
    def unsaved(self) -> tuple[str, ...]:
        """Those of either piece."""
        return tuple(dict.fromkeys(name for piece in self._pieces for name in piece.unsaved))

    @cached_property
    def spectral(self) -> frozenset[str]:
        """The vectors of the weights that move."""
        return frozenset(self._vectors.of)

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors((of for of in normed(self.end) if of.weight in self.moving), self.start, self.bend, self.end)

    def tensor(self, name: str, alpha: float) -> Tensor:
        """One tensor on the curve; half precision is computed in float32 and rounded once. Both ends are bit-exact."""
        if alpha in (0.0, 1.0) or self.template.tied.get(name, name) not in self.moving:
            return (self.end if alpha else self.start)[name]
        if name in self._vectors.of:
            return self._vectors.find(name, alpha, lambda other: self._on_curve(other, alpha))
        return self._on_curve(name, alpha)

    def _on_curve(self, name: str, alpha: float) -> Tensor:
        end = self.end[name]
        if not is_continuous(end.dtype):
            return end
        of_start, of_bend, of_end = coefficients(alpha)
        start, bend = widened(self.start[name]), widened(self.bend[name])
        return (of_start * start + of_bend * bend + of_end * widened(end)).to(end.dtype)
