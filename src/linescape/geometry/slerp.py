"""Spherical interpolation between two networks, as tools that merge language models use it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

from torch import Tensor

from linescape.geometry.given import Network
from linescape.geometry.paths import Line, Segment
from linescape.geometry.tensors import chunks, in_float64, is_continuous, lerp, norm, real, widened

NEARLY_PARALLEL = 0.9995
"""Cosine, of either sign, beyond which tensors move on the straight line: the sine of their angle is too small to
divide by."""


class Slerp(Line):
    """The spherical path (slerp): each tensor turns from one end to the other.

    ``theta(alpha) = (sin((1 - alpha) w) start + sin(alpha w) end) / sin(w)``, with w the angle between both ends.

    Source: Shoemake 1985 (Animating rotation with quaternion curves), as in mergekit's method ``slerp`` (Goddard et al.
    2024, arXiv 2403.13257): the angle is that of the two tensors as vectors, and the weights apply to the tensors as
    they are, so that norms change from one end's to the other's. Between two ends of one norm the norm stays,
    whereas on the straight line it falls.

    A straight line is taken, as in mergekit, where the cosine exceeds `NEARLY_PARALLEL`, of either sign; where an end
    is zero, which has no direction; and for buffers, such as running statistics, which are measurements and no weights.
    Both ends are bit-exact. Angles are summed in float64.

    Args:
        start: the network at alpha = 0.
        end: the network at alpha = 1.
        whole: one angle for all parameters that differ together, instead of one for each tensor.

    Raises:
        StateError: as `Line`.
    """

    def __init__(self, start: Network, end: Network, *, whole: bool = False) -> None:
        super().__init__(start, end)
        self.whole = whole

    @property
    def straight(self) -> bool:
        """False where a tensor moves on an arc."""
        return not self.angles and super().straight

    @property
    def given_by_ends(self) -> bool:
        """False where a tensor moves on an arc: the straight line has the same ends."""
        return not self.angles

    @cached_property
    def angles(self) -> dict[str, float]:
        """The angle of each tensor that moves on an arc, in radians between 0 and pi."""
        moved = [name for name in self.start.parameters if name in self.moving and is_continuous(self.end[name].dtype)]
        groups = [moved] if self.whole else [[name] for name in moved]
        angles = {}
        for names in groups:
            cosine = self._cosine(names)
            if abs(cosine) <= NEARLY_PARALLEL:  # NaN where an end is zero
                angles.update(dict.fromkeys(names, math.acos(cosine)))
        return angles

    def _cosine(self, names: Iterable[str]) -> float:
        products, lengths = 0.0, [0.0, 0.0]
        for name in names:
            both = self.start[name], self.end[name]
            for first, last in chunks(*both):
                products += float((in_float64(real(first)) * in_float64(real(last))).sum())
            own = [norm(chunk for (chunk,) in chunks(value)) for value in both]
            lengths = [math.hypot(*pair) for pair in zip(lengths, own, strict=True)]
        return products / lengths[0] / lengths[1] if all(lengths) else math.nan

    def tensor(self, name: str, alpha: float) -> Tensor:
        """One tensor on its arc; half precision is computed in float32 and rounded once.

        Between the ends, singular vectors of spectral norm are those of the weight there.
        """
        owner = self.template.tied.get(name, name)
        if alpha in (0.0, 1.0) or owner not in self.moving:
            return super().tensor(name, alpha)
        if name in self._vectors.of:
            return self._vectors.find(name, alpha, lambda other: self._between(other, alpha))
        return self._between(owner, alpha)

    def _between(self, name: str, alpha: float) -> Tensor:
        start, end, angle = self.start[name], self.end[name], self.angles.get(name)
        if angle is None:
            return lerp(start, end, alpha)
        of_start, of_end = (math.sin(part * angle) / math.sin(angle) for part in (1.0 - alpha, alpha))
        return (widened(start) * of_start + widened(end) * of_end).to(end.dtype)

    def segment(self, name: str) -> Segment | None:
        """Those of tensors that are on no arc."""
        return None if self.template.tied.get(name, name) in self.angles else super().segment(name)

    def describe(self) -> dict[str, object]:
        """As of every path, with the number of tensors on arcs and the range of their angles in degrees."""
        degrees = [math.degrees(angle) for angle in self.angles.values()]
        return {
            **super().describe(),
            "angle_of": "all parameters" if self.whole else "each tensor",
            "on_arcs": len(degrees),
            **({"degrees": [round(min(degrees), 3), round(max(degrees), 3)]} if degrees else {}),
        }
