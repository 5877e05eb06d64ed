"""The singular vectors of spectral norm, which no straight line gives.

A layer with spectral norm divides its weight by ``sigma = u' W v``, where u and v are the first singular vectors, kept
as buffers (Miyato et al. 2018, arXiv 1802.05957). Between two networks the interpolated vectors are neither of length 1
nor singular vectors of the interpolated weight, so sigma is too small and the middle of a line explodes. The vectors
are therefore found anew at each position between the ends; the ends keep their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.geometry.tensors import in_float64


class Normed(NamedTuple):
    """Names of a weight and of its singular vectors."""

    weight: str
    left: str
    right: str


_FORMS = (("{}_u", "{}_v", "{}_orig"), ("{}.0._u", "{}.0._v", "{}.original"))
"""Names of u, v and the weight: by ``torch.nn.utils.spectral_norm``, and by the parametrization of the same name."""


def normed(names: Iterable[str]) -> tuple[Normed, ...]:
    """The weights under spectral norm, by the names that both of torch's forms of it give."""
    known = set(names)
    found = []
    for left, right, weight in _FORMS:
        for stem in sorted(name.removesuffix(left[2:]) for name in known if name.endswith(left[2:])):
            of = Normed(weight.format(stem), left.format(stem), right.format(stem))
            if known.issuperset(of):
                found.append(of)
    return tuple(found)


_UNIT = 1e-2
"""How far from 1 the length of a unit vector may be, in half precision."""


class Vectors:
    """Finds the singular vectors of some weights at a position, both of a weight at once.

    A weight is taken as a matrix, with one axis first and the others as columns. Which one torch does not record: it is
    one whose length is that of u, and of two such the one for which the vectors of known states have the larger
    ``|u' W v|``, as first singular vectors have the largest of all.

    Args:
        weights: from `normed`.
        states: that networks had in training, so that their vectors belong to their weights.

    Attributes:
        of: name of a vector -> the names of its weight and of both vectors.
    """

    def __init__(self, weights: Iterable[Normed], *states: Mapping[str, Tensor]) -> None:
        tensors = {of: [[state[name] for state in states] for name in of] for of in weights}
        self._axes = {of: _axis(*values) for of, values in tensors.items() if _fit(*values)}
        self.of = {vector: of for of in self._axes for vector in (of.left, of.right)}
        self._last: dict[Normed, tuple[complex, dict[str, Tensor]]] = {}

    def find(self, name: str, alpha: complex, tensor: Callable[[str], Tensor]) -> Tensor:
        """A singular vector of the weight that `tensor` gives for its name; where that is not finite, what it gives.

        Args:
            name: of the vector.
            alpha: the position, for which `tensor` stands; in a plane both coordinates.
            tensor: name -> interpolated tensor there.
        """
        of = self.of[name]
        if self._last.get(of, (None,))[0] != alpha:
            weight, left, right = (tensor(part) for part in of)
            u, v = _first(_matrix(weight, self._axes[of])) if bool(weight.isfinite().all()) else (left, right)
            vectors = {of.left: u.to(left.dtype), of.right: v.to(right.dtype)}
            self._last[of] = alpha, {part: vector.to(left.device) for part, vector in vectors.items()}
        return self._last[of][1][name]


def _matrix(weight: Tensor, axis: int) -> Tensor:
    return in_float64(weight.detach()).movedim(axis, 0).flatten(1)


def _fit(weights: Sequence[Tensor], lefts: Sequence[Tensor], rights: Sequence[Tensor]) -> bool:
    """Whether these are a weight and two vectors of length 1 that belong to its axes, and not only named so."""
    return all(
        weight.ndim > 1
        and left.ndim == right.ndim == 1
        and left.numel() in weight.shape
        and left.numel() * right.numel() == weight.numel()
        and all(abs(float(in_float64(vector).norm()) - 1.0) < _UNIT for vector in (left, right))
        for weight, left, right in zip(weights, lefts, rights, strict=True)
    )


def _axis(weights: Sequence[Tensor], lefts: Sequence[Tensor], rights: Sequence[Tensor]) -> int:
    def norm(axis: int) -> float:
        parts = zip(lefts, weights, rights, strict=True)
        return sum(float((in_float64(u) @ _matrix(w, axis) @ in_float64(v)).abs()) for u, w, v in parts)

    return max((axis for axis, length in enumerate(weights[0].shape) if length == lefts[0].numel()), key=norm)


def _first(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The first singular vectors: the last eigenvector of the smaller Gram matrix is the one on that side."""
    if matrix.shape[0] > matrix.shape[1]:
        right, left = _first(matrix.T)
        return left, right
    left = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -1]
    return left, F.normalize(matrix.T @ left, dim=0)
