"""The inputs and targets of a batch, and which output belongs to which target.

The output at a position belongs to the target at the same position: ``(tokens[:, :-1], tokens[:, 1:])`` are inputs and
targets of a language model, and likewise in a dictionary with ``targets``. But ``labels`` in a dictionary are as a
Hugging Face model's own loss takes them, which is compared: that of most causal language models compares the output at
a position with the label at the next, so its labels are not shifted, and the shift by one is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from linescape.engine.stand_in import network_behind
from linescape.errors import DataError
from linescape.evaluation import own_loss
from linescape.evaluation.measures import IGNORED

Forward = Callable[[nn.Module, Any], tuple[Any, Any]]

LABELS = ("labels", "label", "targets", "target")
"""Names of the targets in a dictionary; the first two are Hugging Face's."""

_CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How the names of Hugging Face's language models that predict the next token end."""


def default_forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """(outputs, targets) of a batch: ``(*inputs, targets)``, or a dictionary of keyword inputs with one of `LABELS`.

    Outputs with an attribute ``logits`` (as Hugging Face models give) are replaced by it. Where the network's own loss
    compares ``labels`` with the outputs before them, these are the outputs at all positions but the last and the labels
    at all but the first. The inputs of a decoder are made of the labels, and columns that a Hugging Face model does not
    take are left out: see `left_out`. The network is called once more for the first batch of a kind, see
    `linescape.evaluation.own_loss`.

    Raises:
        DataError: the batch is neither; or its labels are its tokens, unshifted, and not predicted but repeated; or the
            network's own loss of them is not known.
    """
    network = _network(model)
    if not isinstance(batch, Mapping):
        *arguments, targets = _positional(batch)
        outputs = model(*arguments)
        return getattr(outputs, "logits", outputs), targets
    inputs, labels, place = _named(network, batch)
    outputs = model(**own_loss.completed(network, inputs, labels))
    return own_loss.outputs_at(place, getattr(outputs, "logits", outputs)), own_loss.targets_at(place, labels)


def default_targets(model: nn.Module, batch: Any) -> Any:
    """The targets that `default_forward` returns; the network is only called if the batch is the first of its kind.

    Raises:
        DataError: as `default_forward`.
    """
    if not isinstance(batch, Mapping):
        return _positional(batch)[-1]
    _, labels, place = _named(_network(model), batch)
    return own_loss.targets_at(place, labels)


def remarks(model: nn.Module, batch: Any) -> list[str]:
    """What a result should say of how `default_forward` reads a batch.

    Raises:
        DataError: as `default_forward`.
    """
    network = _network(model)
    if not isinstance(batch, Mapping):
        return []
    place = _named(network, batch)[2]
    notes = [f"The network takes no {name!r}: this column was left out." for name in left_out(model, batch)]
    if place not in ("given", "same", "next"):
        notes.append(f"The network's own loss of its labels is {own_loss.WORDS[place]}.")
    return notes


def left_out(model: nn.Module, batch: Any) -> list[str]:
    """The names in a batch that a Hugging Face model is not called with, as it would not take them.

    Where its ``forward`` takes any name, these are what is no tensor, such as the text of an example.
    """
    network = _network(model)
    if not (isinstance(batch, Mapping) and is_hugging_face(network)):
        return []
    others = [name for name in batch if name not in own_loss.taken(network, batch) and name != _label(batch)]
    if own_loss.takes_any_name(network):
        return [name for name in others if not isinstance(batch[name], Tensor)]
    return others


def predicts_next(model: nn.Module) -> bool:
    """Whether a network is a causal language model of Hugging Face, judged by the names of its classes."""
    return any(kind.__name__.endswith(_CAUSAL) for kind in type(_network(model)).__mro__)


def is_hugging_face(model: nn.Module) -> bool:
    """Whether a network is one of Hugging Face, called with names such as ``input_ids``."""
    return predicts_next(model) or any(kind.__name__ == "PreTrainedModel" for kind in type(_network(model)).__mro__)


def _positional(batch: Any) -> Sequence[Any]:
    """Inputs and then targets; a named tuple whose targets have another place is not guessed at."""
    names: tuple[str, ...] = getattr(batch, "_fields", ())
    misplaced = [name for name in names[:-1] if name in LABELS]
    if misplaced and names[-1] not in LABELS:
        raise DataError(
            f"A batch is a {type(batch).__name__} with the fields {list(names)}: {misplaced[0]!r} seems to be the "
            "targets, but is not the last. Give it last, or pass `forward=lambda model, batch: (outputs, targets)`."
        )
    if isinstance(batch, Sequence) and not isinstance(batch, str | PackedSequence) and len(batch) >= 2:
        return batch
    raise DataError(
        f"A batch is a {type(batch).__name__}, from which inputs and targets cannot be told apart. Yield (inputs, "
        "targets), or pass `forward=lambda model, batch: (outputs, targets)`."
    )


def _named(network: nn.Module, batch: Mapping[str, Any]) -> tuple[dict[str, Any], Any, own_loss.Place]:
    """Inputs by name, labels, and where these stand."""
    label = _label(batch)
    unused = {label, *left_out(network, batch)}
    inputs, labels = {name: value for name, value in batch.items() if name not in unused}, batch[label]
    place = own_loss.place(network, inputs, labels) if label in LABELS[:2] else "given"
    # A network that hides some tokens and has a loss of them keeps a few; one without a loss may as well shift them.
    share = {"given": 0.0, "same": 0.5}.get(place, 1.0)
    if _repeats(batch.get("input_ids"), labels, share) and not own_loss.is_encoder_decoder(network):
        raise DataError(
            f"The labels of a batch are its input_ids, and a {type(network).__name__} is not known to shift "
            "them by one, so it would be measured at repeating its input. For a language model yield the tuple "
            "(tokens[:, :-1], tokens[:, 1:]), or pass `forward=lambda model, batch: (outputs, targets)`."
        )
    return inputs, labels, place


def _label(batch: Mapping[str, Any]) -> str:
    label = next((name for name in LABELS if name in batch), None)
    if label is None:
        raise DataError(
            f"The batch is a dictionary with keys {sorted(map(str, batch))}, none of which names the targets. Call "
            "them 'labels' if they are one tensor that belongs to the network's logits; otherwise, as with "
            "'start_positions' and 'end_positions', pass `forward=lambda model, batch: (outputs, targets)`."
        )
    return label


def _network(model: nn.Module) -> nn.Module:
    return own_loss.unwrapped(network_behind(model))


def _repeats(tokens: Any, targets: Any, share: float) -> bool:
    """Whether targets are the input itself wherever they count, which is at more than this share of the positions."""
    if not (isinstance(tokens, Tensor) and isinstance(targets, Tensor) and targets.ndim == 2):
        return False
    counts = targets != IGNORED
    many = tokens.shape == targets.shape and int(counts.sum()) > share * counts.numel()
    return many and torch.equal(tokens[counts], targets[counts])
