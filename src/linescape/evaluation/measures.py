"""Measures: functions of (outputs, targets) that return one number for each example.

Any such function can be a measure; its ``__name__`` is its name in the result, unless it is given one (see
`linescape.evaluation.named`). It reduces over time or pixels itself:
an example is whatever the first axis of a batch counts. Settings are fixed with `functools.partial`, as in
``partial(cross_entropy, ignore_index=255)``, which keeps the name.

Where an example is a sequence of tokens, or an image with a class for each pixel, `cross_entropy` and `error` give the
mean over its positions that count: those whose target is not `IGNORED`. Means over examples are then means over
positions, as examples with more of them weigh more: see `by_position`.

Targets are never guessed: what could be read in two ways, or is no target of the measure, is an error that names the
measure or the setting to use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from linescape.errors import DataError, MeasureError
from linescape.geometry.tensors import in_float64

Measure = Callable[[Any, Any], Tensor]

Counting = Callable[[Any], Tensor | None]
"""targets -> how much each example counts ``(batch,)``; None where all count the same."""

IGNORED = -100
"""The target of a position that does not count, such as padding or a prompt, as in torch and at Hugging Face."""

_HALF = (torch.float16, torch.bfloat16)

_Measure = TypeVar("_Measure", bound=Measure)


def by_position(measure: _Measure) -> _Measure:
    """Mark a measure as a mean over an example's positions that count, each of which is to weigh the same.

    Its values are multiplied by the number of these positions in the example over their mean number in the data, so
    that the mean over examples is the mean over positions (of a loss: the one whose exponential is the perplexity), and
    intervals still draw whole examples. A measure without this mark is averaged over examples.

    A `functools.partial` of a marked measure is marked too. Its ``ignore_index`` decides which positions count, and
    its ``weight`` how much: the mean over examples is then the weighted mean of torch, ``sum(w l) / sum(w)``. Where
    examples count differently, intervals of differences along a line, as of barriers, are right (a test simulates it),
    but the standard error of the mean at one position takes the mean weight as known, and may be too small.
    """
    vars(measure)["by_position"] = True
    return measure


def name(measure: Measure) -> str:
    """The name of a measure in results."""
    inner = measure.func if isinstance(measure, partial) else measure
    return str(getattr(measure, "__name__", getattr(inner, "__name__", type(inner).__name__)))


def fixed(measure: Measure) -> Measure:
    """A measure whose settings stay what they are, whatever is written to the tensors among them."""
    if not isinstance(measure, partial) or not any(isinstance(value, Tensor) for value in measure.keywords.values()):
        return measure
    settings = {key: value.clone() if isinstance(value, Tensor) else value for key, value in measure.keywords.items()}
    copied = partial(measure.func, *measure.args, **settings)
    vars(copied).update(vars(measure))
    return copied


def counting(measure: Measure) -> partial[Tensor | None] | None:
    """How a measure that is `by_position` counts, as `counted` with its settings; None for other measures."""
    inner, settings = (measure.func, measure.keywords) if isinstance(measure, partial) else (measure, {})
    if not (getattr(measure, "by_position", False) or getattr(inner, "by_position", False)):
        return None
    return partial(counted, **{key: settings[key] for key in ("ignore_index", "weight") if key in settings})


def counted(targets: Any, ignore_index: int | None = None, weight: Tensor | None = None) -> Tensor | None:
    """How many positions of each example count ``(batch,)``: whose class number in ``(batch, ...)`` is not ignored.

    With weights ``(classes,)`` it is the sum of those of the positions' classes. By default `IGNORED` is ignored where
    there are positions. None where each example has one target, nothing is ignored and there is no weight.
    """
    if not isinstance(targets, Tensor) or targets.dtype.is_floating_point or not targets.ndim:
        return None
    if targets.ndim == 1 and ignore_index is None and weight is None:
        return None
    counts = _counts(targets.long(), ignore_index, weight)
    return counts if targets.ndim == 1 else counts.flatten(1).sum(1)


@by_position
def cross_entropy(
    outputs: Tensor,
    targets: Tensor,
    *,
    ignore_index: int | None = None,
    weight: Tensor | None = None,
    class_axis: int | None = None,
) -> Tensor:
    """Negative log-likelihood of the target class under softmax, in nats, shape ``(batch,)``.

    For positions it is the mean over those of an example that count, and 0 where none does. Outputs at a position are
    compared with the target at the same position; for the shift of language models see `linescape.evaluation.forward`.

    Args:
        outputs: logits ``(batch, classes)``; for positions ``(batch, classes, ...)``, as in torch, or ``(batch, ...,
            classes)``. Half precision is computed in float32. NaN logits give NaN.
        targets: class numbers ``(batch,)``, of any integer type or bool, or class probabilities ``(batch, classes)``;
            ``(batch, ...)`` for positions: tokens, pixels, voxels.
        ignore_index: the class number of what does not count; by default `IGNORED` where there are positions.
        weight: of each class ``(classes,)``; the mean over examples is the weighted mean, as in torch.
        class_axis: the axis of the classes in the outputs, where two fit.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit, in one way; targets are neither class numbers nor probabilities; outputs are
            probabilities, not logits.
    """
    classes, axis = _read(outputs, targets, ignore_index, weight, class_axis)
    _refuse_probabilities(outputs, axis)
    wide, ignored = _wide(outputs), _ignored(ignore_index)
    if classes.dtype.is_floating_point:
        return F.cross_entropy(wide, classes, reduction="none")
    if axis == 1:
        values = F.cross_entropy(wide, classes, reduction="none", ignore_index=ignored)
    else:
        flat = F.cross_entropy(wide.flatten(0, -2), classes.flatten(), reduction="none", ignore_index=ignored)
        values = flat.view(classes.shape)
    return _over_positions(values, classes, ignore_index, weight)


@by_position
def error(
    outputs: Tensor,
    targets: Tensor,
    *,
    ignore_index: int | None = None,
    weight: Tensor | None = None,
    class_axis: int | None = None,
) -> Tensor:
    """100 where the largest logit is not the target's, else 0: its mean is the error in %, shape ``(batch,)``.

    For positions it is the mean over those of an example that count. Ties count as the first of the largest. Logits
    with NaN count as wrong.

    Args:
        outputs: as for `cross_entropy`.
        targets: as for `cross_entropy`.
        ignore_index: as for `cross_entropy`.
        weight: as for `cross_entropy`.
        class_axis: as for `cross_entropy`.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: as for `cross_entropy`.
    """
    classes, axis = _read(outputs, targets, ignore_index, weight, class_axis)
    if classes.dtype.is_floating_point:
        classes = classes.argmax(1)
    wrong = ((outputs.argmax(axis) != classes) | outputs.isnan().any(axis)).to(torch.float32) * 100.0
    return _over_positions(wrong, classes, ignore_index, weight)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of labels 0 or 1 under the sigmoid of their logits, in nats, shape ``(batch,)``.

    It is the mean over the labels of an example, so the mean over examples is torch's `BCEWithLogitsLoss`.

    Args:
        outputs: one logit an example, ``(batch,)`` or ``(batch, 1)``; or one for each of several labels or positions
            ``(batch, ...)``. Half precision is computed in float32.
        targets: 0, 1 or probabilities between, of any type; shaped like the outputs, where an axis 1 of length 1 may be
            left out of either.

    Raises:
        DataError: a target is not in ``[0, 1]``.
        MeasureError: shapes do not fit.
    """
    wide, labels = _labels(outputs, targets)
    values = F.binary_cross_entropy_with_logits(wide, labels.to(wide.dtype), reduction="none")
    return values.reshape(len(values), -1).mean(1)


def binary_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of an example's labels on the wrong side of probability 0.5, in %, shape ``(batch,)``.

    A logit of 0 counts as label 0, and so does a target of 0.5. Logits with NaN count as wrong.

    Args:
        outputs: as for `binary_cross_entropy`.
        targets: as for `binary_cross_entropy`.

    Raises:
        DataError: a target is not in ``[0, 1]``.
        MeasureError: shapes do not fit.
    """
    wide, labels = _labels(outputs, targets)
    wrong = ((wide > 0) != (labels > 0.5)) | wide.isnan()
    return wrong.to(torch.float32).reshape(len(wrong), -1).mean(1) * 100.0


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared differences summed over all axes but the first, in squared units of the target, shape ``(batch,)``.

    They are computed in the wider type of the two, integers of 32 bits and more in float64, which holds them exactly.
    Integer targets ``(batch,)`` with outputs ``(batch, classes)`` stand for one-hot vectors.

    Raises:
        DataError: a class number is not in ``[0, classes)``.
        MeasureError: shapes do not fit.
    """
    _require_tensors(outputs, targets)
    wide = _wide(outputs)
    if not targets.dtype.is_floating_point and targets.ndim == 1 and outputs.ndim == 2 and outputs.shape[1] > 1:
        targets = F.one_hot(_read(outputs, targets, None, None, None)[0], outputs.shape[1]).to(wide.dtype)
    elif targets.shape != outputs.shape:
        # Broadcasting (batch, 1) against (batch,) would silently compare every example with every other.
        raise MeasureError(
            f"{_shapes(outputs, targets)}; a squared error needs equal shapes. Reshape one of them in `forward`."
        )
    exact = targets.dtype if targets.dtype.is_floating_point or targets.dtype.itemsize < 4 else torch.float64
    common = torch.promote_types(wide.dtype, exact)
    pair = [in_float64(part) if common == torch.float64 else part.to(common) for part in (wide, targets)]
    return (pair[0] - pair[1]).square().reshape(len(outputs), -1).sum(1)


def _wide(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.dtype in _HALF else outputs


def _ignored(ignore_index: Any) -> int:
    if not (ignore_index is None or _is_integer(ignore_index)):  # which would be equal to no target
        raise MeasureError(f"ignore_index is {ignore_index!r}. It must be an integer, the class number to ignore.")
    return IGNORED if ignore_index is None else int(ignore_index)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and abs(int(value)) < 2**63


def _counts(classes: Tensor, ignore_index: int | None, weight: Tensor | None) -> Tensor:
    """How much each target counts, in their shape: whether it does, or its class's weight."""
    kept = classes != _ignored(ignore_index)
    if weight is None:
        return kept
    _require_classes(classes[kept], len(weight))
    return _wide(weight).to(classes.device)[classes.where(kept, 0)] * kept


def _over_positions(values: Tensor, classes: Tensor, ignore_index: int | None, weight: Tensor | None) -> Tensor:
    """Mean over each example's positions that count; others may hold NaN."""
    if values.ndim == 1:
        return values
    counts = _counts(classes, ignore_index, weight)
    if weight is not None:
        counts = counts.to(values.dtype)
    totals = counts.flatten(1).sum(1)
    return (values.where(counts > 0, 0.0) * counts).flatten(1).sum(1) / totals.where(totals > 0, 1)


def _read(
    outputs: Any, targets: Any, ignore_index: int | None, weight: Tensor | None, class_axis: int | None
) -> tuple[Tensor, int]:
    """Class numbers as int64, or class probabilities, once they are known to be that; and the axis of the classes."""
    _require_tensors(outputs, targets)
    if targets.dtype.is_floating_point:
        _require_probabilities(outputs, targets)
        if weight is not None or ignore_index is not None:
            raise MeasureError(
                "Targets are class probabilities, which have no single class that could be ignored or have a weight. "
                "Leave out `weight=` and `ignore_index=`, or give class numbers."
            )
        return targets, 1
    axis = _class_axis(outputs, targets, class_axis)
    count = outputs.shape[axis]
    if count == 1:
        raise MeasureError(
            f"{_shapes(outputs, targets)}: a single class, whose probability is always 1. For one logit and labels of "
            "0 and 1 pass `measures=[binary_cross_entropy, binary_error]`; for a number, `[squared_error]` (on the "
            "command line --measure)."
        )
    if weight is not None:
        _require_weight(weight, count)
    classes = targets.long()
    _require_classes(
        classes if counted(classes, ignore_index, weight) is None else classes[classes != _ignored(ignore_index)], count
    )
    return classes, axis


def _require_weight(weight: Any, count: int) -> None:
    fits = isinstance(weight, Tensor) and weight.shape == (count,) and not weight.dtype.is_complex
    if not fits or not bool((weight >= 0).all() & weight.isfinite().all()):
        raise MeasureError(
            f"The weight is {weight}. It must be a tensor with one number for each of the {count} classes, finite and "
            "not negative."
        )


def _class_axis(outputs: Tensor, targets: Tensor, chosen: int | None) -> int:
    """The axis of the outputs without which they have the shape of the targets."""
    if not (chosen is None or (_is_integer(chosen) and -outputs.ndim <= chosen < outputs.ndim)):
        raise MeasureError(f"{_shapes(outputs, targets)}, so {chosen!r} is no class_axis. It is 1, or -1 for the last.")
    axes = {1, outputs.ndim - 1} if chosen is None else {chosen % outputs.ndim}
    fitting = [
        axis
        for axis in sorted(axes & {*range(1, outputs.ndim)})
        if targets.shape == outputs.shape[:axis] + outputs.shape[axis + 1 :]
    ]
    if len(fitting) > 1:
        raise MeasureError(
            f"{_shapes(outputs, targets)}, so classes may be on axis 1, as in torch, or on the last axis, as for "
            "tokens. Say which, here axis 1: `measures=[partial(cross_entropy, class_axis=1), partial(error, "
            "class_axis=1)]` with `functools.partial`; or use another number of positions."
        )
    if not fitting:
        raise MeasureError(
            f"{_shapes(outputs, targets)}; this measure needs logits (batch, classes) and class numbers (batch,), for "
            "tokens (batch, positions, classes) and (batch, positions), for pixels (batch, classes, height, width) and "
            "(batch, height, width). Reshape them in `forward`. For labels of 0 and 1, one or several, pass "
            "`measures=[binary_cross_entropy, binary_error]`."
        )
    return fitting[0]


def _require_tensors(outputs: Any, targets: Any) -> None:
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        raise MeasureError(
            f"The network gave {type(outputs).__name__} and the data {type(targets).__name__}; this measure needs two "
            "tensors. Pass `forward=lambda model, batch: (logits, targets)` to pick them out."
        )
    if outputs.dtype.is_complex or targets.dtype.is_complex or not outputs.ndim:
        raise MeasureError(
            f"{_shapes(outputs, targets)}; this measure needs real numbers, and one row for each example. Change them "
            "in `forward`."
        )


def _require_probabilities(outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim != 2 or targets.shape != outputs.shape or targets.shape[1] < 2 or not _sum_to_one(targets):
        raise MeasureError(
            f"{_shapes(outputs, targets)}, which are not class probabilities: not negative, summing to 1 over two "
            "classes or more. For labels of 0 and 1 pass `measures=[binary_cross_entropy, binary_error]`, for a "
            "regression `[squared_error]`; class numbers must be integers."
        )


def _refuse_probabilities(outputs: Tensor, axis: int) -> None:
    """Refuse the outputs of a softmax, by the first examples.

    Four rows of logits do not sum to 1 by chance. Fewer do not to the precision of float32, as those of a softmax do:
    within 1e-5, and over many classes within what rounding adds up to (2.4e-10 a class, measured with AVX2).
    """
    rows = outputs[:4].movedim(axis, -1).flatten(0, -2)
    if len(rows) < 4 and rows.dtype in _HALF:
        return
    if len(rows) and _sum_to_one(rows, 1e-3 if len(rows) >= 4 else max(1e-5, 1e-9 * rows.shape[-1])):
        raise MeasureError(
            "The outputs are probabilities: not negative, and summing to 1 over the classes. This measure needs "
            "logits, what the network has before its softmax. Leave the softmax out, or pass `forward=lambda model, "
            "batch: (model(batch[0]).log(), batch[1])`."
        )


def _sum_to_one(rows: Tensor, tolerance: float = 1e-3) -> bool:
    tolerance = tolerance if rows.dtype in (torch.float32, torch.float64) else 2e-2
    sums = in_float64(rows).sum(-1)
    return bool((rows >= 0).all().to(sums.device) & ((sums - 1).abs() <= tolerance).all())  # one wait for a GPU


def _require_classes(classes: Tensor, count: int) -> None:
    if not classes.numel():
        return
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= count:
        raise DataError(
            f"Labels run from {low} to {high}, but the network has {count} outputs (labels 0 to {count - 1}). Use the "
            "data that the network was made for, or renumber the labels. If one of them marks what does not count, "
            "leave those examples out, or make it -100 where an example has several labels; or in Python pass "
            "`measures=[partial(cross_entropy, ignore_index=...), partial(error, ignore_index=...)]` with "
            "`functools.partial`."
        )


def _labels(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Logits and labels of 0 and 1 in one shape."""
    _require_tensors(outputs, targets)
    wide, labels = (part.squeeze(1) if part.ndim > 1 else part for part in (_wide(outputs), targets))
    if wide.shape != labels.shape:
        raise MeasureError(
            f"{_shapes(outputs, targets)}; this measure needs one logit for each label of 0 and 1. For class numbers "
            "pass `measures=[cross_entropy, error]`, or reshape in `forward`."
        )
    low, high = (float(in_float64(labels).amin()), float(in_float64(labels).amax())) if labels.numel() else (0.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise DataError(
            f"Labels run from {low:g} to {high:g}, but those of this measure are 0 and 1. For class numbers pass "
            "`measures=[cross_entropy, error]`, for a regression `[squared_error]`."
        )
    return wide, labels


def _shapes(outputs: Tensor, targets: Tensor) -> str:
    kind = str(targets.dtype).removeprefix("torch.")
    return f"Outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)} ({kind})"
