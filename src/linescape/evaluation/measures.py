"""Measures: functions of (outputs, targets) that return one number for each example.

Any such function can be a measure; its ``__name__`` is its name in the result. It reduces over time or pixels itself:
an example is whatever the first axis of a batch counts.

Where an example is a sequence of tokens, or an image with a class for each pixel, `cross_entropy` and `error` give the
mean over its positions that count: those whose target is not `IGNORED`. Means over examples are then means over
positions, as examples with more of them weigh more: see `by_position`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.errors import DataError, MeasureError

Measure = Callable[[Any, Any], Tensor]

IGNORED = -100
"""The target of a position that does not count, such as padding or a prompt, as in torch and at Hugging Face."""

_Measure = TypeVar("_Measure", bound=Measure)


def by_position(measure: _Measure) -> _Measure:
    """Mark a measure as a mean over an example's positions that count, each of which is to weigh the same.

    Its values are multiplied by the number of these positions in the example over their mean number in the data, so
    that the mean over examples is the mean over positions (of a loss: the one whose exponential is the perplexity), and
    intervals still draw whole examples. A measure without this mark is averaged over examples.
    """
    vars(measure)["by_position"] = True
    return measure


def counted(targets: Any) -> Tensor | None:
    """How many positions of each example count ``(batch,)``: whose class number in ``(batch, ...)`` is not `IGNORED`.

    None where an example has one target, not one for each position.
    """
    if not isinstance(targets, Tensor) or targets.dtype.is_floating_point or targets.ndim < 2:
        return None
    return (targets != IGNORED).flatten(1).sum(1)


@by_position
def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the target class under softmax, in nats, shape ``(batch,)``.

    For positions it is the mean over those of an example that count, and 0 where none does. Outputs at a position are
    compared with the target at the same position; for the shift of language models see `linescape.evaluation.forward`.

    Args:
        outputs: logits ``(batch, classes)``; ``(batch, positions, classes)`` for tokens; ``(batch, classes, height,
            width)`` for pixels. Half precision is computed in float32. NaN logits give NaN.
        targets: class numbers ``(batch,)``, or class probabilities ``(batch, classes)``; ``(batch, positions)`` for
            tokens and ``(batch, height, width)`` for pixels, where `IGNORED` does not count.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit.
    """
    _check_classes(outputs, targets)
    wide = _wide(outputs)
    if counted(targets) is None:
        return F.cross_entropy(wide, targets, reduction="none")
    if wide.ndim == 3:
        values = F.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED)
    else:
        values = F.cross_entropy(wide, targets, reduction="none", ignore_index=IGNORED)
    return _over_positions(values.view(targets.shape), targets)


@by_position
def error(outputs: Tensor, targets: Tensor) -> Tensor:
    """100 where the largest logit is not the target's, else 0: its mean is the error in %, shape ``(batch,)``.

    For positions it is the mean over those of an example that count. Ties count as the first of the largest. Logits
    with NaN count as wrong.

    Args:
        outputs: as for `cross_entropy`.
        targets: as for `cross_entropy`.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit.
    """
    _check_classes(outputs, targets)
    classes = targets.argmax(1) if targets.dtype.is_floating_point else targets
    axis = _class_axis(outputs)
    wrong = ((outputs.argmax(axis) != classes) | outputs.isnan().any(axis)).to(torch.float32) * 100.0
    return wrong if counted(targets) is None else _over_positions(wrong, targets)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared differences summed over all axes but the first, in squared units of the target, shape ``(batch,)``.

    Integer targets ``(batch,)`` with outputs ``(batch, classes)`` stand for one-hot vectors.

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


def _over_positions(values: Tensor, targets: Tensor) -> Tensor:
    """Mean over each example's positions that count; others may hold NaN."""
    counts = targets != IGNORED
    return values.where(counts, 0.0).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)


def _class_axis(outputs: Tensor) -> int:
    return 2 if outputs.ndim == 3 else 1


def _check_classes(outputs: Any, targets: Any) -> None:
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise MeasureError(
            f"The network gave {type(outputs).__name__} and the data {type(targets).__name__}; this measure needs two "
            "tensors. Pass `forward=lambda model, batch: (logits, targets)` to pick them out."
        )
    soft = targets.dtype.is_floating_point
    axis = _class_axis(outputs)
    expected = outputs.shape if soft else (*outputs.shape[:axis], *outputs.shape[axis + 1 :])
    if outputs.ndim not in ((2,) if soft else (2, 3, 4)) or targets.shape != expected:
        raise MeasureError(
            f"Outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)} ({targets.dtype}); this "
            "measure needs logits (batch, classes) and class numbers (batch,), for tokens (batch, positions, classes) "
            "and (batch, positions), for pixels (batch, classes, height, width) and (batch, height, width). Reshape "
            "them in `forward`."
        )
    if soft or not targets.numel():
        return
    ignored = targets == IGNORED
    if targets.ndim > 1 and bool(ignored.any()):
        targets = targets[~ignored]
        if not len(targets):
            return
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[axis]:
        raise DataError(
            f"Labels run from {low} to {high}, but the network has {outputs.shape[axis]} outputs (labels 0 to "
            f"{outputs.shape[axis] - 1}). Use the data that the network was made for, or renumber the labels."
        )
