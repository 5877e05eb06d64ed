"""Populations of losses along a line, and samples of examples from them."""

from __future__ import annotations

import numpy as np

from tests.support.curves import Array

ALPHAS = np.linspace(0, 1, 26)
CHORD = 2.3 - 2.0 * ALPHAS
POPULATIONS = {
    "barrier": CHORD + 1.5 * np.exp(-(((ALPHAS - 0.6) / 0.15) ** 2)),
    "small": 0.4 + 0.1 * np.sin(np.pi * ALPHAS),
    "plateau": np.minimum(2.3, 2.3 - 10 * (ALPHAS - 0.8)),
    "falling": 0.3 + 2 * (1 - ALPHAS) ** 2,
    "flat": np.full(26, 0.4),
}


def draw(population: Array, examples: int, rng: np.random.Generator) -> Array:
    """Losses ``(26, examples)`` with mean exactly `population`: lognormal, correlated along alpha as in networks."""
    distance = (ALPHAS[:, None] - ALPHAS) / 0.2
    covariance = 0.5 + 0.5 * np.exp(-0.5 * distance**2) + 1e-9 * np.eye(26)
    effects = np.linalg.cholesky(covariance) @ rng.standard_normal((26, examples))
    return population[:, None] * np.exp(effects - (1 + 1e-9) / 2)
