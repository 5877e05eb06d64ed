"""How often a verdict is wrong, on lines whose true curve is known: `python -m tests.support.verdicts` prints a table.

A verdict is wrong where it says "no barrier" or "small rise" although the true hump is larger than the smallest effect,
or "barrier" although it is 0. Losses of examples are like those of users' networks, correlated along alpha as all
positions share the examples:

    lognormal   of moderate spread
    heavy       of log-deviation 2: a few examples have most of the loss
    zeros       nine of ten examples have none
    rare        the same one in fifty examples has all of the loss everywhere
    margins     log(1 + exp(-margin)) of a normal margin: most are near 0, as of trained networks
    error       100 where that margin is negative, else 0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from scipy.special import ndtri

from linescape.shape import hump
from linescape.shape.intervals import estimates
from linescape.shape.verdict import HEIGHTS, judge
from tests.support.curves import Array

ALPHAS = np.linspace(0, 1, 21)
EFFECT = {"error": 1.0}
"""Kind of losses -> the smallest effect; 0.05 nats of the others."""

SPREAD = 3.0
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_CENTRES = np.linspace(-30, 30, 6001)
_SOFTPLUS = (np.logaddexp(0, -(_CENTRES[:, None] + SPREAD * _NODES)) @ _WEIGHTS) / _WEIGHTS.sum()
"""Mean loss by the mean of the margins."""


def bump(centre: float, width: float, height: float) -> Array:
    return height * np.exp(-(((ALPHAS - centre) / width) ** 2))


SHAPES: Mapping[str, Callable[[float], Array]] = {
    "two seeds": lambda size: 0.4 + bump(0.5, 0.2, size),
    "on a plateau": lambda size: np.where(ALPHAS < 0.9, 2.3, 2.3 - 19 * (ALPHAS - 0.9)) + bump(0.4, 0.12, size),
    "near the start": lambda size: 2.3 - 1.9 * ALPHAS**2 + bump(0.1, 0.06, size),
    "on the way down": lambda size: 0.3 + 2 * (1 - ALPHAS) ** 3 + bump(0.6, 0.1, size),
}
"""Lines with a bump of a given size."""


def curves(height: float) -> dict[str, Array]:
    """Each of `SHAPES` with a hump of exactly this height, by bisection of the size of the bump."""
    made = {}
    for name, shape in SHAPES.items():
        low, high = 0.0, 10.0
        for _ in range(60):
            size = (low + high) / 2
            low, high = (size, high) if hump(ALPHAS, shape(size)) < height else (low, size)
        made[name] = shape(high)
    return made


def without() -> dict[str, Array]:
    """Lines without a hump."""
    return {
        "flat": np.full(ALPHAS.size, 0.4),
        "falling": 2.3 - 1.9 * ALPHAS,
        "plateau": np.minimum(2.3, 2.3 - 10 * (ALPHAS - 0.8)),
        "tail": 0.4 + 1.9 * (0.8 - ALPHAS).clip(0) + 0.3 * (ALPHAS - 0.8).clip(0),
    }


def latent(examples: int, rng: np.random.Generator) -> Array:
    apart = (ALPHAS[:, None] - ALPHAS) / 0.2
    covariance = 0.5 + 0.5 * np.exp(-0.5 * apart**2) + 1e-9 * np.eye(ALPHAS.size)
    drawn: Array = np.linalg.cholesky(covariance) @ rng.standard_normal((ALPHAS.size, examples))
    return drawn


def zeros(curve: Array, examples: int, rng: np.random.Generator) -> Array:
    present = latent(examples, rng) > ndtri(0.9)
    return curve[:, None] * np.where(present, np.exp(latent(examples, rng) - 0.5), 0.0) / 0.1


def rare(curve: Array, examples: int, rng: np.random.Generator) -> Array:
    present = rng.random(examples) < 0.02
    return curve[:, None] * np.where(present, np.exp(latent(examples, rng) - 0.5), 0.0) / 0.02


def margins(curve: Array, examples: int, rng: np.random.Generator) -> Array:
    centres = np.interp(curve, _SOFTPLUS[::-1], _CENTRES[::-1])
    return np.logaddexp(0, -(centres[:, None] + SPREAD * latent(examples, rng)))


KINDS: Mapping[str, Callable[[Array, int, np.random.Generator], Array]] = {
    "lognormal": lambda curve, examples, rng: curve[:, None] * np.exp(latent(examples, rng) - 0.5),
    "heavy": lambda curve, examples, rng: curve[:, None] * np.exp(2 * latent(examples, rng) - 2),
    "zeros": zeros,
    "rare": rare,
    "margins": margins,
    "error": lambda curve, examples, rng: 100.0 * (latent(examples, rng) < ndtri(curve / 100)[:, None]),
}
"""Per-example losses ``(alphas, examples)`` with a curve for their mean."""


@cache
def _softest(mean: float, sharpness: float) -> tuple[float, float]:
    """The best k for margins with this mean, and how many times its mean loss that of `sharpness` is."""
    margin = np.linspace(mean - 8, mean + 8, 20_001)
    density = np.exp(-0.5 * (margin - mean) ** 2)

    def average(k: float) -> float:
        return float(np.logaddexp(0, -k * margin) @ density / density.sum())

    softest = min(np.linspace(0.02, 0.6 * sharpness, 100).tolist(), key=average)
    return softest, average(sharpness) / average(softest)


def overconfident(mean: float, sharpness: float, examples: int, rng: np.random.Generator) -> Array:
    """Losses of two networks that are sure of themselves, and less so between them, along a line that is flat in truth.

    They are log(1 + exp(-k margin)) of normal margins with this mean, k being `sharpness` at the ends; in the middle
    k is the best one, times what makes the means equal. So most examples rise a little and a few wrong ones fall far.
    """
    softest, factor = _softest(mean, sharpness)
    margin = rng.normal(mean, 1, examples)
    ends = np.logaddexp(0, -sharpness * margin)
    middle = factor * np.logaddexp(0, -softest * margin)
    along = 4 * ALPHAS * (1 - ALPHAS)
    return np.asarray(ends + along[:, None] * (middle - ends))


def of_the_overconfident(mean: float, sharpness: float, examples: int, simulations: int) -> Counter[str]:
    """How often each verdict is given on `overconfident` lines; "told" counts intervals of the hump above 0."""
    counted: Counter[str] = Counter()
    for seed in range(simulations):
        values = overconfident(mean, sharpness, examples, np.random.default_rng([seed, 2]))
        known = estimates(ALPHAS, values, {"hump": hump}, resamples=300, seed=7)
        counted[judge(ALPHAS, values, 0.05, None, dict.fromkeys(HEIGHTS, known["hump"])).kind] += 1
        counted["told"] += known["hump"].low > 0
    return counted


OVERCONFIDENT = ((1.0, 5.0), (1.5, 8.0), (1.5, 20.0), (2.0, 8.0), (2.0, 20.0))
"""Means of the margins and sharpness: 16, 7, 7, 2 and 2 % of the examples are wrong."""


def verdicts(kind: str, curve: Array, examples: int, simulations: int, resamples: int = 300) -> Counter[str]:
    """How often each verdict is given."""
    counted: Counter[str] = Counter()
    for seed in range(simulations):
        values = KINDS[kind](curve, examples, np.random.default_rng([seed, 1]))
        known = estimates(ALPHAS, values, {"hump": hump}, resamples=resamples, seed=7)
        known = dict.fromkeys(HEIGHTS, known["hump"])  # the others decide nothing
        largest = 100.0 if kind == "error" else None
        counted[judge(ALPHAS, values, EFFECT.get(kind, 0.05), largest, known).kind] += 1
    return counted


def scaled(kind: str, curve: Array) -> Array:
    """A curve in the unit of this kind: nats as they are; in %, a twentieth of a nat is a point."""
    return 20 * curve if kind == "error" else curve


def false_alarms(kind: str, examples: int, simulations: int) -> dict[str, float]:
    """The share of "barrier" on each line of `without`."""
    given = {name: verdicts(kind, scaled(kind, curve), examples, simulations) for name, curve in without().items()}
    return {name: counted["barrier"] / simulations for name, counted in given.items()}


def missed(kind: str, examples: int, simulations: int, height: float) -> dict[str, float]:
    """The share of "no barrier" and "small rise" on lines with a hump of this height, above the smallest effect."""
    given = {name: verdicts(kind, scaled(kind, curve), examples, simulations) for name, curve in curves(height).items()}
    return {name: (counted["no barrier"] + counted["small rise"]) / simulations for name, counted in given.items()}


def main() -> None:
    simulations = 400
    for kind in KINDS:
        for examples in (50, 200, 500, 2000):
            false = false_alarms(kind, examples, simulations)
            just, twice = (missed(kind, examples, simulations, height) for height in (0.051, 0.1))
            print(f"{kind:9} {examples:5}  false {max(false.values()):5.1%} {false}", flush=True)
            print(
                f"{'':15}  missed at 0.051: {max(just.values()):5.1%} {just}, at 0.1: {max(twice.values()):.1%}",
                flush=True,
            )
    for mean, sharpness in OVERCONFIDENT:
        for examples in (50, 200, 500, 2000):
            counted = of_the_overconfident(mean, sharpness, examples, simulations)
            shares = (
                f"false {counted['barrier'] / simulations:5.1%}, intervals above 0 {counted['told'] / simulations:.1%}"
            )
            print(f"overconfident {mean:g}, {sharpness:g}  {examples:5}  {shares}", flush=True)


if __name__ == "__main__":
    main()
