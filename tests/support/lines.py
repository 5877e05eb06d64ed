"""Probes of made-up lines, whose curves are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from linescape.geometry.state import Distance
from linescape.interpolation.curve import Curve, Key
from linescape.interpolation.probing import Probe
from tests.support.curves import Array

ALPHAS = np.linspace(0, 1, 21)
HUMP = np.exp(-(((ALPHAS - 0.5) / 0.2) ** 2))


def values(curve: Array, examples: int = 500, seed: int = 0, scale: float = 1.0) -> Array:
    """Losses with exactly this mean; examples differ by shifts, and a little along the line."""
    rng = np.random.default_rng(seed)
    noise = scale * (rng.normal(0, 0.3, examples) + 0.02 * rng.normal(0, 1, (len(curve), examples)))
    return np.asarray(curve[:, None] + noise - noise.mean(axis=1, keepdims=True))


def errors(curve: Array, examples: int = 500, seed: int = 0) -> Array:
    return np.where(np.random.default_rng(seed).random(examples) < curve[:, None] / 100, 100.0, 0.0)


def probe(
    *curves: Mapping[Key, Array], pairs: Mapping[str, tuple[str, str]] | None = None, **provenance: object
) -> Probe:
    labels = list(pairs or ["whole", *(f"block{index}" for index in range(1, len(curves)))])
    moved = Distance(1.0, 1.0, 1.0, 4)
    made = {label: Curve(ALPHAS, of, {"notes": [], **provenance}) for label, of in zip(labels, curves, strict=True)}
    return Probe(made, dict.fromkeys(labels, moved), (), pairs or {})


def line(
    loss: Array, error: Array | None = None, data: str = "test", treatment: str = "interpolate"
) -> dict[Key, Array]:
    made = {(data, "cross_entropy", treatment): loss}
    return made | ({(data, "error", treatment): error} if error is not None else {})
