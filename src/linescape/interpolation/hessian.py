"""The curvature of the loss along a path: the largest eigenvalues of its Hessian and their sum, by curvlinops.

The Hessian is that of the mean loss of all examples by the parameters of the network, tied ones once; its products
with vectors are exact (Pearlmutter 1994), eigenvalues by Lanczos (ARPACK, with residuals), the trace by Hutchinson's
estimator with an interval (Hutchinson 1989). See `linescape.interpolation.differentiable` for BatchNorm.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor, nn
from torch.autograd import grad

from linescape.errors import LinescapeError, MeasureError, RecipeError, first_line
from linescape.evaluation.copies.observing import random_state_kept, seed
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Path
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

    It takes the extra ``linescape[curvature]``. A position takes some tens of products, each of several passes over
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
        RecipeError: curvlinops is not installed; or there are too few or too many eigenvalues or vectors.
        MeasureError: a name is unknown; the loss has no second derivative, is not finite, or is another one than a
            scan's; Lanczos did not converge; or the network is in half precision.
        LinescapeError: as of `scan`.
    """
    hessian = _curvlinops()
    loss = MeanLoss(path, evaluator, alphas, data, measure, batchnorm)
    count = sum(weight.numel() for weight in loss.weights)
    for value, least, most, what in (
        (top, 1, count - 1, "top"),
        (vectors, 2, None, "vectors"),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least or (most and value > most):
            raise RecipeError(
                f"{what} is {value!r}. The network has {count} parameters: give an integer from {least} to {most}."
                if most
                else f"{what} is {value!r}. An interval needs some: give an integer of {least} or more; 30 are usual."
            )
    rows: list[tuple[float, np.ndarray, np.ndarray, float, float]] = []
    for place in loss.positions():
        alpha = float(loss.alphas[place])
        gradient = float(torch.stack([part.double().square().sum() for part in loss.gradient()]).sum().sqrt())
        try:
            with random_state_kept(evaluator.device):
                rows.append((gradient, *_of(hessian(loss), loss.weights[0], count, top, vectors, seed)))
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
    provenance = {**loss.describe(), "vectors": vectors, "seed": seed, "tolerance": _TOLERANCE[evaluator.dtype]}
    return Curvature(loss.alphas, loss.values, gradients, eigenvalues, residuals, traces, half_widths, provenance)


def _of(
    operator: Any, like: Tensor, count: int, top: int, vectors: int, number: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Eigenvalues and their residuals ``(top,)``, the trace and the half width of its interval."""
    from curvlinops import hutchinson_trace

    first = np.random.default_rng(number).standard_normal(count)
    found, directions = eigsh(
        operator.to_scipy(np.float64), k=top, which="LA", v0=first, tol=_TOLERANCE[like.dtype], maxiter=30 * count
    )
    found, directions = found[::-1], directions[:, ::-1]
    products = np.stack([_product(operator, like, direction) for direction in directions.T], 1)
    residuals = np.linalg.norm(products - found * directions, axis=0)
    if count <= vectors:
        return found, residuals, float(np.trace(_product(operator, like, np.eye(count)))), 0.0
    seed(number)
    samples = [float(hutchinson_trace(operator, 1)) for _ in range(vectors)]
    half = stats.t.ppf(0.975, vectors - 1) * np.std(samples, ddof=1) / np.sqrt(vectors)
    return found, residuals, float(np.mean(samples)), float(half)


def _product(operator: Any, like: Tensor, vector: np.ndarray) -> np.ndarray:
    product = operator @ torch.as_tensor(vector.copy(), dtype=like.dtype, device=like.device)
    return np.asarray(product.double().cpu().numpy())


def _curvlinops() -> Callable[[MeanLoss], Any]:
    """What makes the operator of a loss: curvlinops has models of one tensor, here the number of a batch."""
    try:
        with _without_remarks_on_jit():
            from curvlinops import HessianLinearOperator
    except ImportError as error:
        raise RecipeError(
            f"curvlinops, which multiplies with Hessians, cannot be imported: {first_line(error)}. Run: pip install "
            "'linescape[curvature]'."
        ) from error

    class Hessian(HessianLinearOperator):  # type: ignore[misc]  # it has no types
        """With products by two backward passes: forward over backward, as in curvlinops, is wrong in torch 2.13 for
        BatchNorm with its batch's statistics (by 3 % of the largest entry; finite differences tell which one is)."""

        def _matmat_batch(self, X: Tensor, y: Tensor, M: list[Tensor]) -> list[Tensor]:  # noqa: ARG002, N803 - its names
            with torch.enable_grad():
                parts = grad(self._model_func(X).sum(), self._params, create_graph=True, materialize_grads=True)
                bent = [place for place, part in enumerate(parts) if part.requires_grad]
                if not bent:
                    return [torch.zeros_like(columns) for columns in M]
                products = [
                    grad(
                        [parts[place] for place in bent],
                        self._params,
                        [M[place][..., column] for place in bent],
                        retain_graph=True,
                        materialize_grads=True,
                    )
                    for column in range(M[0].shape[-1])
                ]
            return [torch.stack(columns, -1) for columns in zip(*products, strict=True)]

    def operator(loss: MeanLoss) -> Any:
        numbers = [(torch.tensor([number]), torch.zeros(1)) for number in loss.numbers]
        # Scan and `positions` have seen that the loss is the same in each call.
        return Hessian(loss, _Sum(), list(loss.weights), numbers, num_data=len(numbers), check_deterministic=False)

    return operator


@contextmanager
def _without_remarks_on_jit() -> Iterator[None]:
    """Without warnings of torch on a part of its own, which packages use that curvlinops imports."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        yield


class _Sum(nn.Module):
    """What curvlinops asks how the parts of batches are put together."""

    reduction = "sum"
