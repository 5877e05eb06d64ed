"""Two directions that span a plane: drawn at random, or those in which the states of a training vary most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from linescape.errors import RecipeError, StateError, suggest
from linescape.geometry.packed import check_not_packed
from linescape.geometry.state import State, check_finite
from linescape.geometry.tensors import chunks, in_float64, is_continuous, real, widened

Normalisation = Literal["filter", "layer", "none"]
NORMALISATIONS: tuple[Normalisation, ...] = ("filter", "layer", "none")

_LEAST = 1e-10
"""Share of the variance below which a component is rounding."""


def random_directions(a: State, normalise: str, seed: int) -> list[dict[str, Tensor]]:
    """Two Gaussian directions of the parameters with two axes or more (Li et al. 2018, arXiv 1712.09913, 4).

    Args:
        a: the network around which they lead.
        normalise: one of `NORMALISATIONS`.
        seed: of the draw, which is the same on every machine.

    Raises:
        RecipeError: there is no such normalisation.
        StateError: no parameter has two axes, or one holds NaN or infinity.
    """
    if normalise not in NORMALISATIONS:
        raise RecipeError(f"There is no normalisation {normalise!r}. {suggest(normalise, NORMALISATIONS)}")
    moved = [key for key, value in a.parameters.items() if value.ndim > 1 and is_continuous(value.dtype)]
    if not moved:
        raise StateError(
            "No parameter has two axes or more, and the others (biases, weights of BatchNorm) stay as they are in "
            "such a plane, so nothing would move. Measure a plane through three networks."
        )
    check_not_packed(a, moved)
    check_finite(a, "The network", moved)
    generator = torch.Generator().manual_seed(seed)
    return [{key: _direction(a[key], normalise, generator) for key in moved} for _ in range(2)]


def _direction(weights: Tensor, normalise: str, generator: torch.Generator) -> Tensor:
    """A Gaussian direction of one tensor, scaled to the norms of its filters, of the whole tensor, or not at all."""
    dtype = torch.complex64 if weights.is_complex() else torch.float32
    drawn = torch.randn(weights.shape, generator=generator, dtype=dtype).to(weights.device)
    wide = weights if weights.dtype.itemsize > drawn.dtype.itemsize else widened(weights).to(dtype)
    drawn = drawn.to(wide.dtype)
    if normalise == "none":
        return drawn
    axes = tuple(range(1 if normalise == "filter" else 0, weights.ndim))
    wanted, present = (torch.linalg.vector_norm(value, dim=axes, keepdim=True) for value in (wide, drawn))
    scaled: Tensor = drawn * (wanted / present)
    return scaled


@dataclass(frozen=True, eq=False)
class Components:
    """The first two principal components of the parameters of some states.

    Attributes:
        directions: of unit length, by name of the parameter.
        places: coordinates of each state in both directions ``(states, 2)``, the last state at (0, 0).
        beside: distance of each state from the plane through the last one ``(states,)``.
        shares: share of the states' variance in each direction ``(2,)``, of 1 in all.
    """

    directions: tuple[dict[str, Tensor], dict[str, Tensor]]
    places: np.ndarray
    beside: np.ndarray
    shares: np.ndarray


def components(states: Sequence[State]) -> Components:
    """The first two principal components of states about their mean, in float64 (Li et al. 2018, arXiv 1712.09913, 7).

    They follow from the products of all pairs of states. The signs are those with which the first state has no positive
    coordinate.

    Raises:
        StateError: the parameters vary in fewer than two directions.
    """
    last = states[-1]
    names = [name for name, value in last.parameters.items() if is_continuous(value.dtype)]
    products = np.zeros((len(states), len(states)))
    for name in names:
        for first, *others in chunks(last[name], *(state[name] for state in states)):
            end = in_float64(real(first))
            apart = torch.stack([(in_float64(real(other)) - end).flatten() for other in others])
            products += (apart @ apart.T).cpu().numpy()
    # Of deviations from the last state; subtracting means of rows and columns gives those from the mean state.
    centred = products - products.mean(0) - products.mean(1)[:, None] + products.mean()
    values, vectors = np.linalg.eigh(centred)
    variances, weights = values[::-1][:2].clip(min=0), vectors[:, ::-1][:, :2]
    total = values.clip(min=0).sum()
    if len(states) < 3 or not variances[1] > _LEAST * total:
        raise StateError(
            f"The parameters of the {len(states)} states vary in fewer than two directions, so there is no plane of "
            "principal components. Give three states or more of one training; of two, measure the line."
        )
    weights = weights / np.sqrt(variances)
    weights = weights * np.where(products[0] @ weights > 0, -1.0, 1.0)
    places = products @ weights
    squares = np.diag(products) - np.square(places).sum(1)
    combined = [{name: _combined([s[name] for s in states], weights[:, k]) for name in names} for k in range(2)]
    return Components((combined[0], combined[1]), places, np.sqrt(squares.clip(min=0)), np.asarray(variances / total))


def _combined(tensors: Sequence[Tensor], weights: np.ndarray) -> Tensor:
    """A sum of tensors whose weights add up to 0; from the last one, so that no digits are lost."""
    end = in_float64(tensors[-1])
    total = torch.zeros_like(end)
    for tensor, weight in zip(tensors[:-1], weights.tolist(), strict=False):
        total.add_(in_float64(tensor) - end, alpha=weight)
    return total
