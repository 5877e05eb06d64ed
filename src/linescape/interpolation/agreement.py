"""Whether the values of a scan are those of direct evaluation: plain calls of the network at the same position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from linescape.errors import EndsError, OverflowedError
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.per_example import Values
from linescape.interpolation.curve import Point


class _Tolerance(NamedTuple):
    """How close a scan must be to direct evaluation: for one example, and for which share of them."""

    values: dict[str, float]
    share: float


_CLOSE = {
    None: _Tolerance({"rtol": 1e-4, "atol": 1e-5}, 0.97),
    "bfloat16": _Tolerance({"rtol": 0.1, "atol": 0.1}, 0.8),
}


def compare(point: Point, treatments: Sequence[str], direct: Values, evaluator: Evaluator) -> float:
    """The largest deviation of a point's values from direct evaluation of its first examples.

    Args:
        point: of a scan.
        treatments: of BatchNorm, whose values are compared.
        direct: values of the first examples of each data set, or of all; nothing is compared where it is empty.
        evaluator: that measured the point.

    Raises:
        EndsError: they differ by more than rounding.
        OverflowedError: whether they are finite depends on the order of the network's operations.
    """
    half = evaluator.precision or evaluator.dtype in (torch.float16, torch.bfloat16)
    close = _CLOSE["bfloat16" if half else None]
    largest = 0.0
    for treatment in treatments:
        for (data, measure), expected in direct.items():
            scanned = point.values[data, measure, treatment][: len(expected)]
            same = _same(scanned, expected, close)
            # A few of the examples may flip: kernels on a GPU need not repeat to the bit.
            if np.mean(same) < close.share:
                if np.mean(_same(np.sort(scanned), np.sort(expected), close)) >= close.share:
                    raise EndsError(
                        f"At alpha = {point.alpha:g} the scan gave the {measure} of the examples of {data!r} in "
                        "another order than direct evaluation of the same network, so examples change places between "
                        "passes and nothing could be compared. Give the data, and what `forward` makes of them, in one "
                        "order (shuffle=False)."
                    )
                if scanned.shape == expected.shape and np.any(np.isfinite(scanned) != np.isfinite(expected)):
                    raise OverflowedError(
                        f"At alpha = {point.alpha:g} the {measure} of some examples of {data!r} is a number or NaN or "
                        "infinity by the order in which the network's operations are done, so no value is right: its "
                        "numbers grow beyond what their type holds, as after a training that diverged. Measure a "
                        "network that has not diverged, or measure in float64."
                    )
                raise EndsError(
                    f"At alpha = {point.alpha:g} the scan gave a mean {measure} of {scanned.mean():.6g} on {data!r}, "
                    f"but direct evaluation of the same network gives {expected.mean():.6g}, and "
                    f"{np.sum(~same)} of {len(expected)} examples differ. Either the data change "
                    "between passes (shuffling, random augmentation), or the network is random in eval mode or keeps "
                    "something from one call to the next. Make both repeatable."
                )
            largest = max(largest, largest_difference(scanned, expected))
    return largest


def _same(scanned: np.ndarray, expected: np.ndarray, close: _Tolerance) -> np.ndarray:
    """Which examples have the same value; none where their numbers differ."""
    if scanned.shape != expected.shape:
        return np.zeros(len(expected), bool)
    return np.asarray(np.isclose(scanned, expected, equal_nan=True, **close.values))


def largest_difference(left: np.ndarray, right: np.ndarray) -> float:
    """The largest absolute difference of two arrays of one shape, where both are finite; 0 where there is none."""
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(left - right)[~(left == right)], initial=0.0))
