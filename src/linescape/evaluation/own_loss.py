"""What a network's own loss makes of its labels: at which output each stands.

Networks of Hugging Face take ``labels`` and give a ``loss`` of them. Some compare the output at a position with the
label at the next, others with that at the same, and the names of their classes do not tell. So the network's loss of
the first examples is compared once with what it is in either case; what fits neither is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linescape.errors import DataError, first_line
from linescape.evaluation.measures import IGNORED, counted, cross_entropy, squared_error
from linescape.geometry.tensors import in_float64

Place = Literal["given", "same", "next", "number", "numbers", "yes or no"]
"""What labels are: classes of the outputs at their places, or of those before; one number ``(batch,)`` for one output
``(batch, 1)``, or several; or for each of several ``(batch, labels)`` whether it applies. ``given`` is at their outputs
too, but the network has no loss that would say so."""

WORDS: dict[Place, str] = {
    "given": "not known",
    "same": "the cross entropy of each label at its output",
    "next": "the cross entropy of each at the output before",
    "number": "the squared error",
    "numbers": "the mean squared error",
    "yes or no": "the binary cross entropy",
}

_known: WeakKeyDictionary[nn.Module, dict[object, Place]] = WeakKeyDictionary()
"""Network -> kind of batch -> place: compared once, so that it is the same along a line."""

_TOLERANCE = 1e-5
"""Largest relative difference of two losses that are the same."""

_TOLERANCE_OF_HALF = 2e-2
"""The same where a network computes its loss in half precision."""


def inherit(network: nn.Module, of: nn.Module) -> None:
    """Let a copy of a network read labels as that network does, whatever its own loss is at another state."""
    _known[unwrapped(network)] = _known.setdefault(unwrapped(of), {})


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside what `torch.compile` or the classes of parallel training make of it."""
    while True:
        if (inner := dict(network.named_children()).get("_orig_mod")) is not None:
            network = inner
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            return network


def taken(network: nn.Module, names: Iterable[str]) -> set[str]:
    """Those of the names that the network's ``forward`` lists."""
    return set(names) & set(inspect.signature(network.forward).parameters)


def completed(network: nn.Module, inputs: Mapping[str, Any], labels: Any) -> dict[str, Any]:
    """The inputs of a call; an encoder-decoder that is given none for its decoder makes them, and masks, of the labels.

    It does so itself, since families differ in how; its loss is computed too, and not used.
    """
    decoder = {"decoder_input_ids", "decoder_inputs_embeds"}
    made_of_labels = isinstance(labels, Tensor) and labels.ndim == 2 and not decoder & set(inputs)
    if made_of_labels and is_encoder_decoder(network) and taken(network, decoder):
        return {**inputs, "labels": labels}
    return dict(inputs)


def is_encoder_decoder(network: nn.Module) -> bool:
    """Whether a network is an encoder-decoder of Hugging Face."""
    return bool(getattr(getattr(network, "config", None), "is_encoder_decoder", False))


def place(network: nn.Module, inputs: Mapping[str, Any], labels: Any) -> Place:
    """Where labels stand, by the network's own loss; at their outputs where it has none.

    A network that takes any name, as what wraps another does, may have a loss of ``labels`` too.

    Args:
        network: is called with and without the labels when it is first asked about a kind of batch.
        inputs: by name.
        labels: that belong to them.

    Raises:
        DataError: the network's own loss of these labels is none that is known.
    """
    if not isinstance(labels, Tensor) or not may_have_loss(network):
        return "given"
    kind = (tuple(sorted(inputs)), labels.ndim, labels.dtype)
    places = _known.setdefault(network, {})
    if kind not in places:
        with torch.no_grad(), _settings_kept(network):
            places[kind] = _compared(network, inputs, labels)
    return places[kind]


def may_have_loss(network: nn.Module) -> bool:
    """Whether a network can be called with ``labels``: its ``forward`` lists them, or takes any name."""
    return bool(taken(network, ["labels"])) or takes_any_name(network)


def takes_any_name(network: nn.Module) -> bool:
    """Whether a network's ``forward`` has an argument like ``**inputs``."""
    kinds = {parameter.kind for parameter in inspect.signature(network.forward).parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds


def outputs_at(place: Place, outputs: Any) -> Any:
    """The outputs that have a target."""
    return outputs[:, :-1] if place == "next" else outputs.squeeze(-1) if place == "number" else outputs


def targets_at(place: Place, labels: Any) -> Any:
    """The labels that have an output."""
    return labels[:, 1:] if place == "next" else labels


def _compared(network: nn.Module, inputs: Mapping[str, Any], labels: Tensor) -> Place:
    outputs = network(**completed(network, inputs, labels))
    outputs = getattr(outputs, "logits", outputs)
    if not isinstance(outputs, Tensor):
        return "given"  # for the measures to refuse
    if taken(network, ["labels"]):
        dict(_losses(outputs, labels))  # says what is wrong with labels before the network does
    own = _own(network, inputs, labels)
    if own is None:
        return "given"
    losses = dict(_losses(outputs, labels))
    tolerance = _TOLERANCE if own.dtype.itemsize > 2 else _TOLERANCE_OF_HALF
    fitting = [place for place, loss in losses.items() if torch.isclose(in_float64(own), loss, tolerance, 1e-6, True)]
    if {"same", "next"} <= set(fitting):
        # The outputs are alike at all positions, or no label counts. That of the first position has no output before
        # it, so if labels belong to these, the network's loss is the mean of nothing: NaN.
        first = torch.full_like(labels, IGNORED)
        first[:, :1] = 0
        if not torch.equal(labels, first):
            return _compared(network, inputs, first)
    if not fitting or (len(fitting) > 1 and "next" in fitting):
        known = " or ".join(f"{loss.item():.5g} ({WORDS[place]})" for place, loss in losses.items())
        raise DataError(
            f"For the first examples the own loss of the network, a {type(network).__name__}, is {own.item():.5g}, but "
            f"its outputs {tuple(outputs.shape)} and labels {tuple(labels.shape)} give {known or 'no known loss'}. So "
            "it is not known how it uses its labels, or what is added to its loss. Call them 'targets' if each belongs "
            "to the output at its place, or pass `forward=lambda model, batch: (outputs, targets)`."
        )
    return fitting[0]


def _losses(outputs: Tensor, labels: Tensor) -> Iterator[tuple[Place, Tensor]]:
    """The mean loss for each place that types and shapes allow."""
    if outputs.ndim == labels.ndim + 1 and outputs.shape[-1] == 1:
        yield "number", in_float64(squared_error(outputs.squeeze(-1), labels)).sum() / labels.numel()
    elif outputs.shape == labels.shape:
        yield "yes or no", F.binary_cross_entropy_with_logits(in_float64(outputs), in_float64(labels))
        yield "numbers", in_float64(squared_error(outputs, labels)).sum() / labels.numel()
    elif not labels.dtype.is_floating_point:
        axis = 2 if outputs.ndim == 3 else None  # at Hugging Face classes are last where positions are tokens
        places: tuple[Place, ...] = ("same", "next") if axis and labels.ndim == 2 else ("same",)
        for place in places:
            targets = targets_at(place, labels)
            values = in_float64(cross_entropy(outputs_at(place, outputs), targets, class_axis=axis))
            counts = counted(targets)
            if counts is None:
                yield place, values.mean()
            else:
                counts = counts.to(values.device)
                yield place, (values * counts).sum() / counts.sum()


def _own(network: nn.Module, inputs: Mapping[str, Any], labels: Tensor) -> Tensor | None:
    """The network's own loss; None where it gives none."""
    labels = labels if labels.dtype.is_floating_point else labels.long()
    try:
        loss = getattr(network(**inputs, labels=labels), "loss", None)
    except Exception as error:  # whatever the network's own code raises
        if isinstance(error, TypeError) and not taken(network, ["labels"]):
            return None  # what it passes any name on to does not take this one
        raise DataError(
            f"The network, a {type(network).__name__}, cannot compute its own loss of labels {tuple(labels.shape)}: "
            f"{first_line(error)}. Call them 'targets' if each belongs to the output at its place, or pass "
            "`forward=lambda model, batch: (outputs, targets)`."
        ) from error
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 else None


@contextmanager
def _settings_kept(network: nn.Module) -> Iterator[None]:
    """A network notes in its configuration which loss its first labels asked for; this is undone."""
    config: Any = getattr(network, "config", None)
    before = getattr(config, "problem_type", None)
    try:
        yield
    finally:
        if getattr(config, "problem_type", None) != before:
            config.problem_type = before
