"""What a result should say of its measures: of their settings, and of outputs that they are not made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import abbreviate
from linescape.evaluation.measures import (
    IGNORED,
    Measure,
    binary_cross_entropy,
    binary_error,
    counting,
    cross_entropy,
    name,
)
from linescape.evaluation.named import MEASURES
from linescape.geometry.tensors import in_float64

_OF_SIGMOID = (binary_cross_entropy, binary_error, F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss)
_OF_SOFTMAX = (cross_entropy, F.cross_entropy, nn.CrossEntropyLoss)
_OF_LOGARITHMS = (F.nll_loss, nn.NLLLoss)

_CLASS_NUMBERS = (torch.int16, torch.int32, torch.int64)
"""Types of targets that may be ignored."""

_ENOUGH = 8
"""Numbers that show what outputs are: so many logits are not all between 0 and 1 by chance."""


def of_settings(measure: Measure) -> list[str]:
    """What a result should say of a measure's means."""
    inner = measure.func if isinstance(measure, partial) else measure
    if isinstance(inner, nn.Module) and (weights := [weight for weight, _ in inner.named_parameters()]):
        return [
            f"The measure {name(measure)} has weights of its own ({abbreviate(weights)}), which are the same at all "
            "positions. Where each network was trained with its own, make the loss a part of the network: a module "
            "that returns the losses."
        ]
    if isinstance(measure, nn.CrossEntropyLoss | nn.NLLLoss):
        settings = {"weight": measure.weight is not None, "ignore_index": measure.ignore_index != IGNORED}
    elif isinstance(measure, partial) and measure.func in (F.cross_entropy, F.nll_loss):
        settings = {setting: setting in measure.keywords for setting in ("weight", "ignore_index")}
    else:
        return []
    return [
        f"The mean of {name(measure)} divides by the number of all examples, whatever its {setting} is, unlike "
        f"torch's. Pass partial(cross_entropy, {setting}=...) for that of torch."
        for setting, is_given in settings.items()
        if is_given
    ]


def of_targets(measures: Mapping[str, Measure], data: str, targets: Any) -> str:
    """What a result should say where targets are ignored that measures of the user's own count as examples.

    Args:
        measures: that are given the targets, by name.
        data: name of the data.
        targets: of a batch.
    """
    own = [name for name, of in measures.items() if of not in MEASURES.values() and counting(of) is None]
    if not own or not isinstance(targets, Tensor) or targets.dtype not in _CLASS_NUMBERS:
        return ""
    if not bool((targets == IGNORED).any()):
        return ""
    return (
        f"Some targets of {data!r} are {IGNORED}, which torch's losses leave out of their means. The mean of "
        f"{abbreviate(own)} is over all examples, those included. For the mean of torch pass partial(cross_entropy, "
        f"ignore_index={IGNORED}), or mark a measure of your own with linescape.evaluation.measures.by_position."
    )


def of_outputs(measures: Iterable[Measure], data: str, outputs: Any) -> list[str]:
    """What a result should say where outputs are probabilities and a measure takes logits, or are no logarithms.

    Outputs of a softmax are refused by `cross_entropy` itself, as they are known by their sum.

    Args:
        measures: that are given the outputs.
        data: name of the data.
        outputs: of a few examples.
    """
    if not isinstance(outputs, Tensor) or not outputs.dtype.is_floating_point or outputs.numel() < _ENOUGH:
        return []
    notes = []
    for measure in measures:
        if _is_one(measure, (*_OF_SIGMOID, *_OF_SOFTMAX)) and bool(((outputs >= 0) & (outputs <= 1)).all()):
            applied, inverse = ("sigmoid", "logit") if _is_one(measure, _OF_SIGMOID) else ("softmax", "log")
            notes.append(
                f"All outputs for the first examples of {data!r} are between 0 and 1 at both ends. {name(measure)} "
                f"takes logits and applies a {applied} to them. If they are probabilities, its values are wrong: "
                f"pass `forward=lambda model, batch: (model(batch[0]).{inverse}(), batch[1])`."
            )
        elif _is_one(measure, _OF_LOGARITHMS) and outputs.ndim > 1 and not _are_logarithms(outputs):
            notes.append(
                f"The outputs for the first examples of {data!r} are no logarithms of probabilities, which sum to 1, "
                f"so {name(measure)} gives no likelihoods. Pass `measures=[cross_entropy, error]` for logits."
            )
    return notes


def _is_one(measure: Measure, kinds: tuple[Any, ...]) -> bool:
    inner = measure.func if isinstance(measure, partial) else measure
    return inner in kinds or type(inner) in kinds


def _are_logarithms(outputs: Tensor) -> bool:
    tolerance = 1e-3 if outputs.dtype in (torch.float32, torch.float64) else 0.1
    return bool((in_float64(outputs).logsumexp(1).abs() <= tolerance).all())
