"""The curvature of the loss along a path: the largest eigenvalues of its Hessian and their sum.

The Hessian is that of the mean loss of all examples by the parameters of the network, tied ones once; its products
with vectors are exact, by two backward passes, eigenvalues by Lanczos (ARPACK, with residuals), the trace by
Hutchinson's estimator with an interval (Hutchinson 1989); of few parameters both are those of the whole matrix. See
`linescape.interpolation.differentiable` for BatchNorm.

Forward over backward (Pearlmutter 1994; `torch.func.jvp` of `jacrev`) is not used, as its products are wrong in torch
2.13 for BatchNorm with its batch's statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.autograd import grad

from linescape.errors import LinescapeError, MeasureError, RecipeError, first_line
from linescape.evaluation.copies.observing import random_state_kept
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
from linescape.geometry.tensors import in_float64
from linescape.interpolation.differentiable import MeanLoss

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Of an eigenvalue, relative: what products in this type let Lanczos reach."""


@dataclass(frozen=True)
class Curvature:
    """The Hessian of the mean loss at positions of a path.

    Attributes:
        alphas: positions ``(positions,)``.
        loss: the mean loss there ``(positions,)``, in its own unit.
        gradient: Euclidean norm of its gradient ``(positions,)``; where it is not 0 the position is no minimum, and
            eigenvalues say how the slope changes, not how wide a minimum is.
        eigenvalues: the algebraically largest ones, falling ``(positions, top)``.
        residuals: ``|H v - lambda v|`` of each with its unit vector ``(positions, top)``: within this distance of
            lambda there is an eigenvalue.
        trace: the sum of all eigenvalues ``(positions,)``, estimated where `trace_half_width` is not 0.
        trace_half_width: half width of a 95 % t interval of the trace over the random vectors ``(positions,)``.
        provenance: which function and which numbers of vectors these are (JSON-able).
    """

    alphas: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    eigenvalues: np.ndarray
    residuals: np.ndarray
    trace: np.ndarray
    trace_half_width: np.ndarray
    provenance: dict[str, object]


def curvature(
    path: Path,
    evaluator: Evaluator,
    alphas: int | Sequence[float],
    *,
    data: str | None = None,
    measure: str | None = None,
    batchnorm: str = "interpolate",
    top: int = 1,
    vectors: int = 30,
    seed: int = 0,
) -> Curvature:
    """The largest eigenvalues and the trace of the loss's Hessian at positions of a path.

    A position takes some tens of products, each of several passes over
    the data. Eigenvalues are found to a residual of 1e-9 of them in float64, 1e-4 in float32. ReLU has a second
    derivative of 0 where it has one: its kinks, which bend the loss along a path too, are not counted.

    Args:
        path: such as ``Line(start, end)``.
        evaluator: the network and its data.
        alphas: positions, or their number, as for `ScanOptions`: 0 and 1 are added if they are missing.
        data: name of the data whose mean loss it is; the evaluator's first by default.
        measure: name of the loss; the evaluator's first by default.
        batchnorm: treatment of the running statistics, which are constants of the derivatives; with ``batch`` they are
            computed of the parameters and differentiated, and depend on how the data are cut into batches.
        top: number of eigenvalues.
        vectors: random vectors of +1 and -1 for the trace, which is exact where there are as many as parameters.
        seed: of these and of Lanczos' first vector; the same vectors at all positions.

    Raises:
        RecipeError: there are too few or too many eigenvalues or vectors.
        MeasureError: a name is unknown; the loss has no second derivative, is not finite, or is another one than a
            scan's; Lanczos did not converge; or the network is in half precision.
        LinescapeError: as of `scan`.
    """
    from scipy.sparse.linalg import ArpackNoConvergence  # here and below, as scipy takes a while to import

    loss = MeanLoss(path, evaluator, alphas, data, measure, batchnorm)
    count = sum(weight.numel() for weight in loss.weights)
    _check_numbers(top, vectors, count)
    rows: list[tuple[float, np.ndarray, np.ndarray, float, float]] = []
    for place in loss.positions():
        alpha = float(loss.alphas[place])
        gradient = float(torch.stack([in_float64(part).square().sum() for part in loss.gradient()]).sum().sqrt())
        try:
            with random_state_kept(evaluator.device):
                rows.append((gradient, *_of(loss, count, top, vectors, seed)))
        except LinescapeError:
            raise
        except ArpackNoConvergence as error:
            raise MeasureError(
                f"At alpha = {alpha:g} Lanczos did not find the {top} largest eigenvalues of {count}: "
                f"{first_line(error)}. Ask for fewer, or use a network in float64."
            ) from error
        except Exception as error:  # whatever the network's own code raises
            raise MeasureError(
                f"At alpha = {alpha:g} the loss could not be differentiated twice ({type(error).__name__}: "
                f"{first_line(error)}). The network, its `forward` and the measure must consist of operations that "
                "torch can differentiate twice."
            ) from error
    columns = (np.array(column) for column in zip(*rows, strict=True))
    gradients, eigenvalues, residuals, traces, half_widths = columns
    provenance = {**loss.describe(), "vectors": vectors, "seed": seed, "tolerance": _TOLERANCE[loss.dtype]}
    return Curvature(loss.alphas, loss.values, gradients, eigenvalues, residuals, traces, half_widths, provenance)


def _check_numbers(top: int, vectors: int, count: int) -> None:
    """Of eigenvalues and of random vectors, for a network of so many parameters."""
    for value, least, most, what in (
        (top, 1, max(1, count - 1), "top"),
        (vectors, 2, None, "vectors"),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
            raise RecipeError(
                f"{what} is {value!r}. The network has {count} parameters: give an integer from {least} to {most}."
                if most
                else f"{what} is {value!r}. An interval needs some: give an integer of {least} or more; 30 are usual."
            )


def _of(loss: MeanLoss, count: int, top: int, vectors: int, seed: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Eigenvalues and their residuals ``(top,)``, the trace and the half width of its interval."""
    from scipy.special import stdtrit

    from linescape.interpolation.lanczos import LinearOperator, largest_eigenvalues

    operator = LinearOperator((count, count), partial(_product, loss), dtype=np.float64)
    random = np.random.default_rng(seed)
    first, tolerance = random.standard_normal(count), _TOLERANCE[loss.dtype]
    whole = operator @ np.eye(count) if count <= vectors else None
    if whole is not None:  # Lanczos finds fewer than all, and none of one
        found, directions = np.linalg.eigh((whole + whole.T) / 2)
        found, directions = found[-top:], directions[:, -top:]
    elif not np.any(operator @ first):  # of a loss that is linear by pieces, which Lanczos cannot begin with
        found, directions = np.zeros(top), np.eye(count, top)
    else:
        found, directions = largest_eigenvalues(operator, top, first, tolerance, random.spawn(1)[0])
    found, directions = found[::-1], directions[:, ::-1]
    residuals = np.linalg.norm(operator @ directions - found * directions, axis=0)
    if whole is not None:
        return found, residuals, float(np.trace(whole)), 0.0
    signs = random.integers(0, 2, (vectors, count)) * 2.0 - 1.0
    samples = [float(vector @ _product(loss, vector)) for vector in signs]
    half = stdtrit(vectors - 1, 0.975) * np.std(samples, ddof=1) / np.sqrt(vectors)
    return found, residuals, float(np.mean(samples)), float(half)


def _product(loss: MeanLoss, vector: np.ndarray) -> np.ndarray:
    """The Hessian times a vector ``(parameters,)``."""
    weights = loss.weights
    flat = torch.as_tensor(vector.reshape(-1).copy(), device="cpu")
    pieces = torch.split(flat, [weight.numel() for weight in weights])
    parts = [piece.view_as(weight).to(weight) for piece, weight in zip(pieces, weights, strict=True)]
    total = np.zeros(len(flat))
    for number in loss.numbers:
        with torch.enable_grad():
            gradient = grad(loss(number).sum(), weights, create_graph=True, materialize_grads=True)
            bent = [place for place, of in enumerate(gradient) if of.requires_grad]  # where it is no constant
            if bent:
                chosen = [gradient[place] for place in bent], weights, [parts[place] for place in bent]
                product = grad(*chosen, materialize_grads=True)
                total += in_float64(torch.cat([of.flatten() for of in product])).cpu().numpy()
    loss.check_finite(bool(np.isfinite(total).all()), "second derivative")
    return total
