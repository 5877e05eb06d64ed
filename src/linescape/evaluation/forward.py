"""The inputs and targets of a batch, and which output belongs to which target.

The output at a position belongs to the target at the same position: ``(tokens[:, :-1], tokens[:, 1:])`` are inputs and
targets of a language model, and likewise in a dictionary with ``targets``. But ``labels`` in a dictionary are as a
Hugging Face model's own loss takes them: that of a causal language model compares the output at a position with the
label at the next, so its labels are not shifted, and the shift by one is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from linescape.engine import Fast
from linescape.errors import DataError
from linescape.evaluation.measures import IGNORED

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]

LABELS = ("labels", "label", "targets", "target")
"""Names of the targets in a dictionary; the first two are Hugging Face's."""

_CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How the names of Hugging Face's causal language models end."""


def default_forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """(outputs, targets) of a batch: ``(*inputs, targets)``, or a dictionary of keyword inputs with one of `LABELS`.

    Outputs with an attribute ``logits`` (as Hugging Face models give) are replaced by it. With ``labels`` for each
    position and a causal language model of Hugging Face (`predicts_next`), these are the outputs at all positions but
    the last and the labels at all but the first.

    Raises:
        DataError: the batch is neither; or its labels are its tokens, unshifted, and the model is no causal language
            model that is known to be trained so.
    """
    arguments, named = _inputs(batch)
    outputs = model(*arguments, **named)
    outputs, targets = getattr(outputs, "logits", outputs), default_targets(model, batch)
    return outputs[:, :-1] if _shifted(model, batch) else outputs, targets


def default_targets(model: nn.Module, batch: Any) -> Any:
    """The targets that `default_forward` returns, without a call of the model.

    Raises:
        DataError: as `default_forward`.
    """
    _inputs(batch)
    targets = batch[_label(batch)] if isinstance(batch, Mapping) else batch[-1]
    if _shifted(model, batch):
        return targets[:, 1:]
    if isinstance(batch, Mapping) and _repeats(batch.get("input_ids"), targets):
        raise DataError(
            f"The labels of a batch are its input_ids, and a {type(_network(model)).__name__} is not known to shift "
            "them by one, so it would be measured at repeating its input. For a language model yield the tuple "
            "(tokens[:, :-1], tokens[:, 1:]), or pass `forward=lambda model, batch: (outputs, targets)`."
        )
    return targets


def predicts_next(model: nn.Module) -> bool:
    """Whether a network is a causal language model of Hugging Face, judged by the names of its classes."""
    return any(kind.__name__.endswith(_CAUSAL) for kind in type(_network(model)).__mro__)


def is_hugging_face(model: nn.Module) -> bool:
    """Whether a network is one of Hugging Face, called with names such as ``input_ids``."""
    return predicts_next(model) or any(kind.__name__ == "PreTrainedModel" for kind in type(_network(model)).__mro__)


def _inputs(batch: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    if isinstance(batch, Mapping):
        label = _label(batch)
        return (), {name: value for name, value in batch.items() if name != label}
    if isinstance(batch, Sequence) and len(batch) >= 2:
        return batch[:-1], {}
    raise DataError(
        f"A batch is a {type(batch).__name__}, from which inputs and targets cannot be told apart. Yield (inputs, "
        "targets), or pass `forward=lambda model, batch: (outputs, targets)`."
    )


def _label(batch: Mapping[str, Any]) -> str:
    label = next((name for name in LABELS if name in batch), None)
    if label is None:
        raise DataError(
            f"The batch is a dictionary with keys {sorted(batch)}, none of which names the targets. Call them "
            "'labels', or pass `forward=lambda model, batch: (outputs, targets)`."
        )
    return label


def _network(model: nn.Module) -> nn.Module:
    return model.network if isinstance(model, Fast) else model


def _shifted(model: nn.Module, batch: Any) -> bool:
    if not isinstance(batch, Mapping) or _label(batch) not in LABELS[:2] or not predicts_next(model):
        return False
    targets = batch[_label(batch)]
    return isinstance(targets, Tensor) and targets.ndim == 2


def _repeats(tokens: Any, targets: Any) -> bool:
    """Whether targets are the input itself; those of a masked language model are, at a few positions only."""
    if not (isinstance(tokens, Tensor) and isinstance(targets, Tensor) and targets.ndim == 2):
        return False
    counts = targets != IGNORED
    many = tokens.shape == targets.shape and 2 * int(counts.sum()) > counts.numel()
    return many and torch.equal(tokens[counts], targets[counts])
