"""Random linear maps from few coordinates to all weights, for trainings in random subspaces (Li et al. 2018).

Each is drawn from a seed on the CPU and has columns of length 1: exactly where they are dense or sparse, and
on average over draws with Fastfood.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cache

import numpy as np
import torch
from torch import Tensor

from linescape.recipe import Subspace

_BLOCK = 64
"""The Walsh-Hadamard transform multiplies by matrices of this size, which is faster than one of 2 at a time."""


class Projection(ABC):
    """A random linear map P.

    Args:
        size: number of its rows.
        dimension: number of its columns.
        seed: decides what is drawn, on the CPU.
        dtype: of its numbers.
        device: where it computes.

    Attributes:
        tensors: what is kept of it.
    """

    def __init__(self, size: int, dimension: int, seed: int, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.dimension = size, dimension
        self.tensors = tuple(tensor.to(device) for tensor in self._drawn(seed, dtype))

    @abstractmethod
    def _drawn(self, seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """What is kept of it."""

    @abstractmethod
    def __call__(self, coordinates: Tensor) -> Tensor:
        """``P x``: ``(dimension,)`` to ``(size,)``."""

    @abstractmethod
    def adjoint(self, weights: Tensor) -> Tensor:
        """``P^T y``: ``(size,)`` to ``(dimension,)``."""

    @classmethod
    @abstractmethod
    def multiplications(cls, size: int, dimension: int) -> int:
        """How many ``P x`` takes, and so does ``P^T y``."""

    @property
    def bytes(self) -> int:
        """Memory that the map takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)


class Dense(Projection):
    """Columns drawn from N(0, 1) and divided by their lengths: ``size x dimension`` numbers."""

    def _drawn(self, seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        random = torch.Generator().manual_seed(seed)
        matrix = torch.randn(self.size, self.dimension, generator=random, dtype=dtype)
        return (matrix / matrix.norm(dim=0),)

    @classmethod
    def multiplications(cls, size: int, dimension: int) -> int:
        """All its numbers."""
        return size * dimension

    def __call__(self, coordinates: Tensor) -> Tensor:
        """``P x``."""
        return self.tensors[0] @ coordinates

    def adjoint(self, weights: Tensor) -> Tensor:
        """``P^T y``."""
        return self.tensors[0].T @ weights


class Sparse(Projection):
    """``m = sqrt(size)`` entries of ``+-1 / sqrt(m)`` in each column, at places drawn without replacement.

    The share of entries that are not 0 is that of very sparse random projections (Li, Hastie & Church 2006). Takes
    ``16 m`` bytes for each column.
    """

    def _drawn(self, seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        random, count = np.random.default_rng(seed), math.ceil(math.sqrt(self.size))
        places = np.stack([random.choice(self.size, count, replace=False) for _ in range(self.dimension)])
        signs = random.integers(0, 2, places.shape) * 2 - 1
        values = torch.from_numpy(signs).to(dtype) / math.sqrt(count)
        return torch.from_numpy(places), values

    @classmethod
    def multiplications(cls, size: int, dimension: int) -> int:
        """Its numbers that are not 0."""
        return math.ceil(math.sqrt(size)) * dimension

    def __call__(self, coordinates: Tensor) -> Tensor:
        """``P x``."""
        places, values = self.tensors
        moved = (values * coordinates[:, None]).flatten()
        return coordinates.new_zeros(self.size).index_add_(0, places.flatten(), moved)

    def adjoint(self, weights: Tensor) -> Tensor:
        """``P^T y``."""
        places, values = self.tensors
        return (values * weights[places]).sum(1)


class Fastfood(Projection):
    """``P = S H G Pi H B``, never written out: O(n log n) operations, n the power of two not below `size`.

    Source: Le, Sarlos & Smola 2013, as Li et al. 2018 use it: B multiplies by random signs and pads with zeros, H is
    the Walsh-Hadamard transform, Pi a permutation, G Gaussian, and S keeps the first `size`
    rows and divides by ``sqrt(sum(G^2) size)``, so that columns have length 1 on average. Takes ``20 n`` bytes in
    float32.
    """

    def _drawn(self, seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        self.length = 1 << max(0, self.size - 1).bit_length()
        random = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (self.dimension,), generator=random).to(dtype) * 2 - 1
        order = torch.randperm(self.length, generator=random)
        gauss = torch.randn(self.length, generator=random, dtype=torch.float64)
        scaled = gauss / (gauss.square().sum() * self.size).sqrt()
        return signs, order, order.argsort(), scaled.to(dtype)

    @classmethod
    def multiplications(cls, size: int, dimension: int) -> int:  # noqa: ARG003 - coordinates are padded
        """Those of two Walsh-Hadamard transforms, a matrix of `_BLOCK` at a time."""
        length = 1 << max(0, size - 1).bit_length()
        return 2 * length * sum(_sides(length))

    def __call__(self, coordinates: Tensor) -> Tensor:
        """``P x``."""
        signs, order, _, scaled = self.tensors
        padded = coordinates.new_zeros(self.length)
        padded[: self.dimension] = signs * coordinates
        return hadamard(scaled * hadamard(padded)[order])[: self.size]

    def adjoint(self, weights: Tensor) -> Tensor:
        """``P^T y``; H is symmetric."""
        signs, _, back, scaled = self.tensors
        padded = weights.new_zeros(self.length)
        padded[: self.size] = weights
        return signs * hadamard((scaled * hadamard(padded))[back])[: self.dimension]


def hadamard(vector: Tensor) -> Tensor:
    """The Walsh-Hadamard transform in Sylvester's order, not normalised, of a vector of a power of two of numbers.

    It is the tensor product of small ones, which are done one after the other.
    """
    sides = _sides(vector.numel())
    shaped = vector.reshape(sides)
    for side in sides:  # contracts the first axis and puts the result last, so the order is as before in the end
        shaped = torch.tensordot(shaped, _sylvester(side, vector.dtype, vector.device), dims=([0], [0]))
    return shaped.reshape(-1)


def _sides(length: int) -> list[int]:
    """Sizes of the small transforms that one of a power of two consists of."""
    sides: list[int] = []
    while (left := length // math.prod(sides)) > 1:
        sides.append(min(left, _BLOCK))
    return sides


@cache
def _sylvester(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = torch.ones(1, 1, dtype=dtype)
    for _ in range(side.bit_length() - 1):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix.to(device)


PROJECTIONS: dict[str, type[Dense | Sparse | Fastfood]] = {"dense": Dense, "sparse": Sparse, "fastfood": Fastfood}


def projection(spec: Subspace, size: int, seed: int, dtype: torch.dtype, device: torch.device) -> Projection:
    """The map that a recipe's subspace is given by.

    Args:
        spec: the subspace.
        size: number of weights that it leads to.
        seed: decides what is drawn.
        dtype: of its numbers.
        device: where it computes.
    """
    return PROJECTIONS[spec.projection](size, spec.dimension, seed, dtype, device)
