"""How often intervals of barriers hold the truth: over examples of one line, and over runs of two arms.

    python -m benchmarks.intervals_of_barriers        about 3 minutes on one core

Over examples: curves with known barriers, and per-example losses with that mean that are lognormal (``kind``), very
unequal (``heavy``: log-deviation 2) or zero for nine of ten examples (``zeros``), correlated along alpha. Over runs:
rises that are exactly zero in half of the runs, else lognormal; the arms are alike, or one is three times as high.
Wanted: 95 %, never far less.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from linescape.analysis import inference
from linescape.shape import LOSS_STATISTICS, estimates

Array = NDArray[np.float64]
ALPHAS = np.linspace(0, 1, 26)
SAMPLES, EXAMPLES, STUDIES = 200, 1000, 2000


def bump(centre: float, width: float, height: float) -> Array:
    return height * np.exp(-(((ALPHAS - centre) / width) ** 2))


CURVES: dict[str, Array] = {
    "barrier": 2.3 - 1.9 * ALPHAS + bump(0.5, 0.15, 1.0),
    "bump of 0.1 on a plateau": np.where(ALPHAS < 0.9, 2.3, 2.3 - 19 * (ALPHAS - 0.9)) + bump(0.4, 0.1, 0.1),
    "bump of 0.03 on a low plateau": 0.3 + bump(0.5, 0.1, 0.03),
    "flat": np.full(26, 2.3),
    "falling": 2.3 - 2.0 * ALPHAS,
}


def latent(examples: int, rng: np.random.Generator) -> Array:
    apart = (ALPHAS[:, None] - ALPHAS) / 0.2
    covariance = 0.5 + 0.5 * np.exp(-0.5 * apart**2) + 1e-9 * np.eye(ALPHAS.size)
    drawn: Array = np.linalg.cholesky(covariance) @ rng.standard_normal((ALPHAS.size, examples))
    return drawn


def zeros(examples: int, rng: np.random.Generator) -> Array:
    present = latent(examples, rng) > ndtri(0.9)
    return np.where(present, np.exp(latent(examples, rng) - 0.5), 0.0) / 0.1


LOSSES: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "kind": lambda examples, rng: np.exp(latent(examples, rng) - 0.5),
    "heavy": lambda examples, rng: np.exp(2 * latent(examples, rng) - 2),
    "zeros": zeros,
}
"""Per-example factors of mean 1, ``(alphas, examples)``."""


def over_examples(kind: str, curve: Array, samples: int = SAMPLES, examples: int = EXAMPLES) -> dict[str, float]:
    """For each height, how often its interval holds that of the curve."""
    held = dict.fromkeys(LOSS_STATISTICS, 0.0)
    for seed in range(samples):
        values = curve[:, None] * LOSSES[kind](examples, np.random.default_rng([seed, 1]))
        for name, found in estimates(ALPHAS, values, LOSS_STATISTICS, resamples=300, seed=7).items():
            true = float(LOSS_STATISTICS[name](ALPHAS, curve))
            held[name] += (found.low <= true + 1e-12 and true <= found.high + 1e-12) / samples
    return held


def rises(count: int, scale: float, rng: np.random.Generator) -> Array:
    return np.where(rng.random(count) < 0.5, 0.0, scale * rng.lognormal(-1.0, 0.8, count))


def over_runs(count: int, scale: float, paired: bool, studies: int = STUDIES) -> tuple[float, float, float]:
    """How often Welch's and the permutation's interval hold the true difference, how often the latter excludes 0."""
    true = (scale - 1) * 0.5 * float(np.exp(-1.0 + 0.32))
    rng = np.random.default_rng(count)
    welch = ours = told = asked = 0
    for _ in range(studies):
        x, y = rises(count, scale, rng), rises(count, 1.0, rng)
        found = (inference.paired_difference if paired else inference.permutation_difference)(x, y)
        usual = inference.difference(x, y)
        if np.isnan(found.low):
            continue
        asked += 1
        welch += usual.low <= true <= usual.high
        ours += found.low <= true <= found.high
        told += found.low > 0 or found.high < 0
    return welch / max(1, asked), ours / max(1, asked), told / max(1, asked)


def main() -> None:
    print("Over examples: share of intervals that hold the truth")
    for kind in LOSSES:
        for name, curve in CURVES.items():
            held = over_examples(kind, curve)
            print(f"{kind:6} {name:30} " + ", ".join(f"{key} {value:.0%}" for key, value in held.items()), flush=True)
    print("Over runs: share of intervals that hold the true difference, and that exclude 0")
    for paired in (False, True):
        for count in (4, 5, 6, 10):
            for scale in (1.0, 3.0):
                welch, ours, told = over_runs(count, scale, paired)
                what = "pairs" if paired else "runs a side"
                print(
                    f"{count:2d} {what:12} one arm x {scale:g}: Welch {welch:.1%}, permutation {ours:.1%}, "
                    f"excludes 0 in {told:.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes no arguments but --help
    main()
