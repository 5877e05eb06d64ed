"""How often intervals across arms hold the truth: a bootstrap over whole arms against `linescape.analysis.inference`.

    python -m benchmarks.intervals_across_arms        about 5 minutes on one core

Made-up studies of 3 runs an arm with known truth. A share of the variance of both numbers lies between arms, where
they are correlated by 0.6; in "zeros" one number is cut at 0, as min Delta is where lines are monotone. Wanted: 95 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from linescape.analysis import inference

Array = NDArray[np.float64]
STUDIES, RESAMPLES, RUNS = 300, 200, 3


def draw(arms: int, share: float, zeros: bool, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two numbers of each run, (arms, runs)."""
    effects = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=arms)
    both = np.sqrt(share) * effects[:, None] + np.sqrt(1 - share) * rng.normal(size=(arms, RUNS, 2))
    return np.maximum(both[..., 0], 0) if zeros else both[..., 0], both[..., 1]


def rho(x: Array, y: Array) -> float:
    a, b = stats.rankdata(x), stats.rankdata(y)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else np.nan


def area(x: Array, y: Array) -> float:
    flags = y.ravel() > 0
    count, rest = flags.sum(), (~flags).sum()
    if not count or not rest:
        return np.nan
    return float((stats.rankdata(x)[flags].sum() - count * (count + 1) / 2) / (count * rest))


def bootstrap(statistic: Callable[[Array, Array], float], x: Array, y: Array, rng: np.random.Generator) -> Array:
    picks = rng.integers(0, len(x), (RESAMPLES, len(x)))
    return np.nanquantile([statistic(x[pick], y[pick]) for pick in picks], [0.025, 0.975])


def main() -> None:
    rng = np.random.default_rng(0)
    print("                                       truth   bootstrap   here   (no interval)")
    for arms in (5, 8, 15, 30):
        names = [f"arm {i // RUNS}" for i in range(arms * RUNS)]
        for share, zeros in ((0.0, False), (0.5, False), (0.95, False), (0.5, True)):
            for word, statistic in (("rho", rho), ("AUC", area)):
                truth = statistic(*draw(20_000, share, zeros, rng))
                held = np.zeros(2)
                asked, silent = 0, 0
                for _ in range(STUDIES):
                    x, y = draw(arms, share, zeros, rng)
                    flat = x.ravel(), y.ravel()
                    if word == "rho":
                        found = inference.rank_correlation(*flat, names)
                    else:
                        found = inference.auc(flat[0], flat[1] > 0, names)
                    if np.isnan(found.low):
                        silent += 1
                        continue
                    low, high = bootstrap(statistic, x, y, rng)
                    asked += 1
                    held += [low <= truth <= high, found.low <= truth <= found.high]
                rates = held / max(1, asked)
                kind = f"{arms:3d} arms, share {share:.2f}{', zeros' if zeros else '       '}  {word}"
                print(f"{kind}   {truth:.2f}    {rates[0]:6.1%}   {rates[1]:6.1%}   {silent}", flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # it takes no arguments but --help
    main()
