"""Aligning one network with another: the same function, its units in the order that fits the other network's best."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from linescape.engine.graph import TOLERANCES, Call, Graph, NotExportable, relative_difference
from linescape.errors import DataError, RecipeError, StateError, abbreviate, check_type, suggest
from linescape.evaluation import batchnorm
from linescape.evaluation.batches import first_with_examples, head, map_tensors, to_device
from linescape.evaluation.copies.observing import random_state_kept
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.given import Network, as_ends, as_state
from linescape.geometry.state import State, check_pair, distance
from linescape.interpolation.alignment.exporting import export
from linescape.interpolation.alignment.matching import by_activations, by_weights
from linescape.interpolation.alignment.units import Permutations, Structure, structure

By = Literal["weights", "activations"]
METHODS: tuple[By, ...] = ("weights", "activations")

EXAMPLES = 2000
"""Examples whose activations are compared."""

_UNCHANGED = "Or measure the line with the units as they are."

_FEW = 8
"""Examples by which a graph is made, and by which outputs are compared."""


@dataclass(frozen=True, eq=False, repr=False)
class Alignment:
    """What `align` returns.

    Attributes:
        state: the end with its units in another order; it computes what the end does.
        permutations: name of the first weight of some units -> for each place the unit of the end that comes there.
        by: ``weights`` or ``activations``.
        before: distance of the parameters from the start to the end.
        after: distance from the start to `state`.
        notes: what a reader should know, in words.
    """

    state: State
    permutations: Permutations
    by: By
    before: float
    after: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Alignment by {self.by}: {self.summary}>"

    @cached_property
    def moved(self) -> int:
        """How many units have another place."""
        return sum(int((order != np.arange(len(order))).sum()) for order in self.permutations.values())

    @property
    def summary(self) -> str:
        """Units that moved and distances, in words."""
        units = sum(map(len, self.permutations.values()))
        return f"{self.moved:,} of {units:,} units moved; distance {self.before:.4g} before, {self.after:.4g} after"


def align(start: Network, end: Network, evaluator: Evaluator, by: By = "weights") -> Alignment:
    """Permute the units of the end so that they fit those of the start; the function stays the same.

    Which axes are permuted together is found in the graph of a call (`torch.export`), not from a list of
    architectures: a layer's outputs with all that reads them, residual streams as a whole, running statistics too. An
    operation that is not known keeps its order. It is checked that a random permutation of all units and the one that
    is found leave the network's outputs as they are.

    Source: Ainsworth et al. 2023 (arXiv 2209.04836), weight matching and activation matching. See
    `linescape.interpolation.alignment.matching`.

    Between aligned networks BatchNorm's interpolated statistics fit even less than elsewhere: measure with
    ``batchnorm="recalibrate"`` too (Jordan et al. 2022, REPAIR, arXiv 2211.08403).

    Args:
        start: the network whose order of units is kept: a module, a state dict or a `State`.
        end: the network whose units are permuted.
        evaluator: the network and its data; the graph is of a call with its first batch, and activations are those of
            the first `EXAMPLES` examples of its calibration data, or else of its first data.
        by: ``weights`` needs no data but an input's shape; ``activations``.

    Raises:
        RecipeError: there is no such method.
        StateError: the states do not fit together; the network has no graph, or nothing in it is known to be free to
            be permuted; or outputs change.
        DataError: there are no examples.
    """
    if by not in METHODS:
        raise RecipeError(f"There is no way to align by {by!r}. {suggest(by, METHODS)}")
    check_type(evaluator, Evaluator, "The evaluator", "Give an Evaluator: Evaluator(model, {'test': data}).")
    start, end = as_ends(start, end, evaluator.model)
    check_pair(start, end)
    with evaluator.lent(), random_state_kept(evaluator.device):
        network = _Called(evaluator)
        found = _free_units(network, end)
        _shuffled(network, end, found, seed=0)
        if by == "weights":
            orders = by_weights(found, start, end)
        else:
            orders = by_activations(found, start, end, network.calls())
        aligned = found.permuted(end, orders)
        network.check_same(end, aligned, found)
        notes = _notes(found, bool(batchnorm.layers(evaluator.model)))
    return Alignment(aligned, orders, by, distance(start, end), distance(start, aligned), notes)


def shuffle(network: Network, evaluator: Evaluator, seed: int = 0) -> State:
    """A network with all units that may be permuted in a random order, which computes the same.

    Args:
        network: a module, a state dict or a `State`.
        evaluator: as of `align`.
        seed: of the order.

    Raises:
        StateError: as `align`.
        DataError: there are no examples.
    """
    state = as_state(network, "The network", evaluator.model)
    with evaluator.lent(), random_state_kept(evaluator.device):
        called = _Called(evaluator)
        return _shuffled(called, state, _free_units(called, state), seed)


def _free_units(network: _Called, state: State) -> Structure:
    """What of a network can be permuted; `StateError` where that is nothing."""
    found = structure(network.graph, network.unsaved, state, network.few.tensors)
    if not found.units:
        raise StateError(
            f"No units of this network are known to be free to be permuted: {_reasons(found)}. {_UNCHANGED}"
        )
    return found


def _shuffled(network: _Called, state: State, found: Structure, seed: int) -> State:
    """The state with all units in a random order; `StateError` where that changes its outputs."""
    generator = np.random.default_rng(seed)
    orders = {units.label: generator.permutation(units.count) for units in found.units}
    shuffled = found.permuted(state, orders)
    network.check_same(state, shuffled, found)
    return shuffled


class _Called:
    """A network and how it is called with the evaluator's data.

    Raises:
        DataError: there are no examples.
        StateError: the call has no graph.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        names = [evaluator.calibration, *evaluator.data]
        self._batches = next(evaluator.data[name] for name in names if name in evaluator.data)
        first = first_with_examples(self._batches)
        if first is None:
            raise DataError("The data have no examples, so the network cannot be called. Give some.")
        self._args, self._kwargs = self._arguments(head(first, _FEW)[0])
        saved = evaluator.model.state_dict()
        self.unsaved = {name: value for name, value in evaluator.model.named_buffers() if name not in saved}
        try:
            self.few = Call.of(self._args, self._kwargs)
            self.graph: Graph = export(evaluator.model, self._args, self._kwargs)
        except NotExportable as error:
            raise StateError(
                f"The units of this {type(evaluator.model).__name__} cannot be permuted, since its call is no graph in "
                f"which they could be followed: {error}. {_UNCHANGED}"
            ) from error

    def _arguments(self, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the evaluator's `forward` calls the network with."""
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        model = self._evaluator.model
        handle = model.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
        try:
            with torch.no_grad():
                self._evaluator.forward(model, map_tensors(to_device(batch, self._evaluator.device), torch.clone))
        finally:
            handle.remove()
        if not calls:
            raise StateError(
                "The evaluator's `forward` does not call the network itself but a part of it, so its units cannot be "
                f"followed. Give a `forward` that calls the network. {_UNCHANGED}"
            )
        args, kwargs = calls[-1]
        if "use_cache" in inspect.signature(model.forward).parameters:
            kwargs = {**kwargs, "use_cache": False}  # which Hugging Face's models else return, and is no tensor
        return args, kwargs

    def calls(self) -> Iterator[Sequence[Tensor]]:
        """The tensors of calls with at most `EXAMPLES` examples."""
        left = EXAMPLES
        most = self.graph.examples[1]
        for batch in self._batches:
            call = Call.of(*self._arguments(batch))
            count = int(min(left, most, call.examples))
            if count < max(1, self.graph.examples[0]):
                return
            yield call.head(count).tensors
            left -= count

    def check_same(self, before: State, after: State, found: Structure) -> None:
        """Compare the outputs of the network itself in both states.

        Raises:
            StateError: they differ.
        """
        model = self._evaluator.model
        with torch.no_grad():
            called = [
                torch.func.functional_call(model, s.state_dict(), self._args, self._kwargs) for s in (before, after)
            ]
        outputs = [pytree.tree_leaves(getattr(of_state, "logits", of_state)) for of_state in called]
        if not any(isinstance(old, Tensor) and old.is_floating_point() for old in outputs[0]):
            raise StateError(
                f"This {type(model).__name__} returns no tensors of numbers, so it cannot be checked that it "
                f"computes the same with its units permuted. {_UNCHANGED}"
            )
        for old, new in zip(*outputs, strict=True):
            if isinstance(old, Tensor):
                apart = relative_difference(new, old)
                if not apart <= TOLERANCES.get(old.dtype, 0.0):
                    raise StateError(
                        f"Permuting units changes the outputs of this {type(model).__name__} by up to "
                        f"{apart:.2g} of the largest, so what was derived from its graph does not hold. The units are "
                        f"those of {abbreviate([units.label for units in found.units])}. Report this network. "
                        f"{_UNCHANGED}"
                    )


def _reasons(found: Structure) -> str:
    """Why weights keep their order, most common reason first."""
    names: dict[str, list[str]] = {}
    for name, reason in found.fixed.items():
        names.setdefault(reason, []).append(name)
    ordered: list[tuple[str, list[str]]] = sorted(names.items(), key=lambda item: -len(item[1]))
    return "; ".join(f"{reason} ({abbreviate(of, 3)})" for reason, of in ordered[:3]) or "it has no inner units"


def _notes(found: Structure, has_batchnorm: bool) -> tuple[str, ...]:
    notes = []
    if found.fixed:
        notes.append(f"Some units keep their order in the alignment: {_reasons(found)}.")
    if has_batchnorm:
        notes.append(
            "BatchNorm's interpolated statistics do not fit networks between aligned ones (variance collapse, Jordan "
            "et al. 2022): measure with --batchnorm recalibrate too."
        )
    return tuple(notes)
