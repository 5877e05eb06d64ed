"""What is lost when one block of a trained network alone is set back to its start, over paired examples.

Re-initialisation of a layer (Zhang, Bengio & Singer 2022). Both are means of differences between networks on the same
examples, so their intervals are Student's, and of their ratio Fieller's (1954, J. R. Stat. Soc. B 16).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from linescape.shape.intervals import Estimate


def lost(set_back: ArrayLike, end: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean loss with the block set back minus that of the end; its interval is NaN for one example and infinite losses.

    Args:
        set_back: per-example losses ``(examples,)``.
        end: those of the trained network, on the same examples.
        level: probability with which the interval covers the true value.
    """
    differences = np.asarray(set_back, np.float64) - np.asarray(end, np.float64)
    mean = float(differences.mean())
    half = _quantile(differences.size, level) * _error(differences)
    return Estimate(mean, mean - half, mean + half, level)


def share(set_back: ArrayLike, start: ArrayLike, end: ArrayLike, level: float = 0.95) -> Estimate | None:
    """`lost` as a fraction of what the whole training has gained; None where that is not told from 0 or less.

    It may exceed 1: a network with one block set back can be worse than the start.

    Args:
        set_back: per-example losses ``(examples,)``.
        start: those of the whole network at its start, on the same examples.
        end: those of the trained network.
        level: probability with which the interval covers the true value.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    gain, loss = start - end, np.asarray(set_back, np.float64) - end
    whole = lost(start, end, level)
    if not (whole.low > 0 and math.isfinite(loss.mean())):
        return None
    # The ratios r for which the mean of (loss - r gain) is not told from 0: between the roots of a quadratic.
    scale = _quantile(gain.size, level) ** 2 / gain.size
    covariance = np.cov(loss, gain) * scale
    square = whole.value**2 - covariance[1, 1]  # above 0, since the interval of the gain is
    middle = whole.value * loss.mean() - covariance[0, 1]
    rest = loss.mean() ** 2 - covariance[0, 0]
    half = math.sqrt(max(middle**2 - square * rest, 0.0))
    low, high = float((middle - half) / square), float((middle + half) / square)
    return Estimate(float(loss.mean() / whole.value), low, high, level)


def _quantile(examples: int, level: float) -> float:
    from scipy.special import stdtrit  # which takes a while, and importing linescape must not

    return float(stdtrit(examples - 1, (1 + level) / 2)) if examples > 1 else math.nan


def _error(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):  # infinite values have no deviation: NaN
        return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan
