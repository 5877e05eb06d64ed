"""What is measured on each example: functions of (outputs, targets) that return one number an example.

A measure of one's own is any such function; its ``__name__`` is its name in the result. A measure that needs a
reduction over time or pixels does it inside, so that an example is whatever the batch's first axis counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.errors import DataError, MeasureError

Measure = Callable[[Any, Any], Tensor]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the target class under softmax, in nats, shape ``(batch,)``.

    Args:
        outputs: logits ``(batch, classes)``; half precision is computed in float32. NaN logits give NaN.
        targets: class numbers ``(batch,)``, or class probabilities ``(batch, classes)``.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit.
    """
    _check_classes(outputs, targets)
    return F.cross_entropy(_wide(outputs), targets, reduction="none")


def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """100 where the largest logit is not the target's, else 0: its mean is the error in %, shape ``(batch,)``.

    Ties count as the first of the largest. Logits with NaN count as wrong.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit.
    """
    _check_classes(outputs, targets)
    classes = targets.argmax(1) if targets.dtype.is_floating_point else targets
    wrong = (outputs.argmax(1) != classes) | outputs.isnan().any(1)
    return wrong.to(torch.float32) * 100.0


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared differences summed over all axes but the first, in squared units of the target, shape ``(batch,)``.

    Integer targets ``(batch,)`` beside outputs ``(batch, classes)`` stand for one-hot vectors.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit.
    """
    wide = _wide(outputs)
    if not targets.dtype.is_floating_point and targets.ndim == 1 and outputs.ndim == 2:
        _check_classes(outputs, targets)
        targets = F.one_hot(targets, outputs.shape[1])
    elif targets.shape != outputs.shape:
        # Broadcasting (batch, 1) against (batch,) would silently compare every example with every other.
        raise MeasureError(
            f"Outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}; a squared error needs "
            "equal shapes. Reshape one of them in `forward`."
        )
    return (wide - targets.to(wide.dtype)).square().reshape(len(outputs), -1).sum(1)


def _wide(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


def _check_classes(outputs: Any, targets: Any) -> None:
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise MeasureError(
            f"The network gave {type(outputs).__name__} and the data {type(targets).__name__}; this measure needs two "
            "tensors. Pass `forward=lambda model, batch: (logits, targets)` to pick them out."
        )
    soft = targets.dtype.is_floating_point
    if outputs.ndim != 2 or (outputs.shape != targets.shape if soft else targets.shape != outputs.shape[:1]):
        raise MeasureError(
            f"Outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)} ({targets.dtype}); this "
            "measure needs logits (batch, classes) and class numbers (batch,). Reshape them in `forward`."
        )
    if not soft and len(targets):
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= outputs.shape[1]:
            raise DataError(
                f"Labels run from {low} to {high}, but the network has {outputs.shape[1]} outputs (labels 0 to "
                f"{outputs.shape[1] - 1}). Use the data that the network was made for, or renumber the labels."
            )
