"""Eigenvalues by Lanczos (ARPACK), repeated ones as often as they occur.

Of a repeated eigenvalue Lanczos finds one, and the others by rounding alone, perhaps after it has stopped. So it starts
again from another vector beside what it has found, until nothing larger than the smallest is left there.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

__all__ = ["LinearOperator", "largest_eigenvalues"]


def largest_eigenvalues(
    operator: LinearOperator, top: int, first: np.ndarray, tolerance: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The algebraically largest eigenvalues of a symmetric matrix, each as often as it occurs.

    Args:
        operator: multiplies with the matrix ``(n, n)``.
        top: how many, less than n.
        first: the vector to start from ``(n,)``.
        tolerance: of an eigenvalue, relative.
        random: draws further vectors to start from.

    Returns:
        The eigenvalues, rising ``(top,)``, and a unit vector of each ``(n, top)``.

    Raises:
        scipy.sparse.linalg.ArpackNoConvergence: they were not found.
    """
    find = partial(eigsh, which="LA", tol=tolerance, maxiter=30 * len(first))
    found, directions = find(operator, k=top, v0=first)
    while top > 1:
        least, scale = found[-top], np.abs(found).max()
        lift = 2 * max(abs(least), 1e-3 * scale) or 1.0
        missed, direction = find(_beside(operator, directions, least, lift), k=1, v0=random.standard_normal(len(first)))
        if missed[0] - lift - least <= 10 * tolerance * lift:
            break
        both = np.append(found, missed - lift)
        order = np.argsort(both)
        found, directions = both[order], np.column_stack([directions, direction])[:, order]
    return found[-top:], directions[:, -top:]


def _beside(operator: LinearOperator, directions: np.ndarray, value: float, lift: float) -> LinearOperator:
    """The operator, but that known directions have this eigenvalue; and all is lifted, so that none found is near 0."""

    def product(vector: np.ndarray) -> np.ndarray:
        inside = directions @ (directions.T @ vector)
        outside = operator @ (vector - inside)
        return outside - directions @ (directions.T @ outside) + value * inside + lift * vector  # type: ignore[no-any-return]

    return LinearOperator(operator.shape, product, dtype=np.float64)
