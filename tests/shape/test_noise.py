"""How often intervals cover the shape of a known population, and how often noise alone lifts them above it."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest

from linescape.shape import LOSS_STATISTICS, estimates
from tests.support.populations import ALPHAS, POPULATIONS, draw


@cache
def coverage(
    names: tuple[str, ...], examples: int, simulations: int, resamples: int
) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """For each population and height: how often its interval covers the population's, and how often it lies above.

    All populations in one loop, since equal resamples are drawn once.
    """
    found = {name: (dict.fromkeys(LOSS_STATISTICS, 0.0), dict.fromkeys(LOSS_STATISTICS, 0.0)) for name in names}
    for seed, name in product(range(simulations), names):
        population, (covers, above) = POPULATIONS[name], found[name]
        values = draw(population, examples, np.random.default_rng([seed, 1]))  # not the bits of the resamples
        for number, interval in estimates(ALPHAS, values, LOSS_STATISTICS, resamples=resamples, seed=seed).items():
            true = LOSS_STATISTICS[number](ALPHAS, population)
            covers[number] += (interval.low <= true + 1e-12 and true - 1e-12 <= interval.high) / simulations
            above[number] += (interval.low > true + 1e-12) / simulations
    return found


@pytest.mark.parametrize("name", ["barrier", "small"])
def test_intervals_of_a_real_barrier_cover(name: str) -> None:
    covers, _ = coverage(("barrier", "small"), 800, 100, resamples=250)[name]
    assert min(covers.values()) >= 0.9, covers


@pytest.mark.parametrize(("name", "alarms"), [("falling", 0.06), ("flat", 0.12), ("plateau", 0.12)])
def test_intervals_seldom_claim_what_is_not_there(name: str, alarms: float) -> None:
    _, above = coverage(("falling", "flat", "plateau"), 500, 200, resamples=250)[name]
    assert max(above.values()) <= alarms, above


@pytest.mark.slow
@pytest.mark.parametrize("name", POPULATIONS)
def test_coverage_in_a_thousand_simulations(name: str) -> None:
    covers, above = coverage((name,), 2000, 1000, resamples=300)[name]
    print(name, {height: (round(covers[height], 3), round(above[height], 3)) for height in LOSS_STATISTICS})
    assert min(covers.values()) >= (0.87 if name in ("flat", "plateau") else 0.93), covers


@pytest.mark.parametrize("seed", range(8))
def test_of_examples_with_one_value_an_interval_is_that_value(seed: int) -> None:
    """What resampling adds is rounding, which may be below 0 at every position."""
    curve = np.exp(3 * np.random.default_rng(seed).normal(size=3 + seed))
    alphas, values = np.linspace(0, 1, curve.size), np.repeat(curve[:, None], 20, axis=1)
    for name, found in estimates(alphas, values, LOSS_STATISTICS, resamples=300).items():
        exact = LOSS_STATISTICS[name](alphas, curve)
        assert [found.value, found.low, found.high] == pytest.approx([exact] * 3, abs=1e-12 * curve.max()), name
