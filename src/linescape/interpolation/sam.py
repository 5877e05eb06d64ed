"""Sharpness along a path as SAM has it: how much the loss rises by one step up its gradient, to the rim of a ball."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linescape.errors import RecipeError
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.geometry.tensors import in_float64
from linescape.interpolation.differentiable import MeanLoss


@dataclass(frozen=True)
class Sharpness:
    """The rise of the mean loss at positions of a path.

    Attributes:
        alphas: positions ``(positions,)``.
        loss: the mean loss there ``(positions,)``, in its own unit.
        rise: loss after the step less the loss ``(positions,)``. The largest rise in the ball is at least this one. It
            is NaN where the gradient is zero, so that there is no direction.
        provenance: which function, radius and kind of ball these are of (JSON-able).
    """

    alphas: np.ndarray
    loss: np.ndarray
    rise: np.ndarray
    provenance: dict[str, object]


def sharpness(
    path: Path,
    evaluator: Evaluator,
    alphas: int | Sequence[float],
    *,
    radius: float,
    adaptive: bool = False,
    data: str | None = None,
    measure: str | None = None,
    batchnorm: str = "interpolate",
) -> Sharpness:
    """The rise of the mean loss of all examples by one step up its gradient, at positions of a path.

    The step e is the one of SAM (Foret et al. 2021, arXiv 2010.01412), ``radius * g / |g|`` with the gradient g by all
    parameters, tied ones once; or with `adaptive` that of ASAM (Kwon et al. 2021, arXiv 2102.11600), ``radius * w^2 g /
    |w g|`` by elements, in the ball ``|e / w| <= radius``, which does not change when units are rescaled. ASAM's code
    adds 0.01 to each ``|w|``, which is not done here.

    Args:
        path: such as ``Line(start, end)``.
        evaluator: the network and its data.
        alphas: positions, or their number, as for `ScanOptions`: 0 and 1 are added if they are missing.
        radius: of the ball; 0.05 is SAM's usual one in training.
        adaptive: whether the ball is ASAM's.
        data: name of the data whose mean loss it is; the evaluator's first by default.
        measure: name of the loss; the evaluator's first by default.
        batchnorm: treatment of the running statistics, which the step does not change; with ``batch`` they follow it.

    Raises:
        RecipeError: the radius is not a positive number.
        MeasureError: a name is unknown; the loss has no gradient, is not finite, or is another one than a scan's; or
            the network is in half precision.
        LinescapeError: as of `scan`.
    """
    if isinstance(radius, bool) or not isinstance(radius, int | float) or not 0 < radius < math.inf:
        raise RecipeError(f"The radius is {radius!r}. Give a positive number; SAM's usual one is 0.05.")
    loss = MeanLoss(path, evaluator, alphas, data, measure, batchnorm)
    rises = []
    for _ in loss.positions():
        gradient = loss.gradient()
        scales = [weight.detach().abs() if adaptive else torch.ones_like(weight) for weight in loss.weights]
        norm = _norm([scale * part for scale, part in zip(scales, gradient, strict=True)])
        if norm == 0:
            rises.append(math.nan)
            continue
        before = loss.value()
        with torch.no_grad():
            for weight, scale, part in zip(loss.weights, scales, gradient, strict=True):
                weight.add_((radius / norm) * scale.square() * part)
        rises.append(loss.value() - before)  # the next position is loaded anew
    provenance = {**loss.describe(), "radius": float(radius), "adaptive": adaptive}
    return Sharpness(loss.alphas, loss.values, np.array(rises), provenance)


def _norm(parts: list[Tensor]) -> float:
    return float(torch.stack([in_float64(part).square().sum() for part in parts]).sum().sqrt())
