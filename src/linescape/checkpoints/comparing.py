"""Two networks and data, however they are given, to everything about the line between them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from linescape import checkpoints
from linescape.checkpoints.align import pair
from linescape.checkpoints.formats import Contents
from linescape.data import Dataset
from linescape.errors import MeasureError, StateError, check_type
from linescape.evaluation.evaluator import Evaluator
from linescape.evaluation.measures import Measure
from linescape.geometry.given import Network, as_ends, unwrapped
from linescape.geometry.groups import Groups, by_block
from linescape.geometry.state import check_module
from linescape.interpolation.options import DEFAULT, ScanOptions
from linescape.interpolation.probing import Probe, check_computes_alike, probe

Given = Network | str | os.PathLike[str]
"""A module, a state dict, a `State`, or the path of a checkpoint of any known format."""


def compare(
    model_a: Given,
    model_b: Given,
    data: Any,
    *,
    model: nn.Module | None = None,
    layers: bool | Groups = False,
    measures: Sequence[Measure | str] | Mapping[str, Measure | str] | None = None,
    options: ScanOptions = DEFAULT,
) -> Probe:
    """Measure the line between two networks; neither they nor the data are changed.

    Args:
        model_a: the network at alpha = 0: a module, a state dict, a `State`, or the path of a checkpoint.
        model_b: the network at alpha = 1, likewise.
        data: what to measure on: ``(inputs, targets)`` tensors, a data set or a `DataLoader` without shuffling, which
            are called ``test``; or a dictionary of these by name. Or an `Evaluator`, which has its own network and
            measures, and further settings.
        model: a network of this kind, whose weights do not matter. It is needed where neither is a module.
        layers: whether to measure each block's line too (`groups.by_block`); or the groups.
        measures: as for `Evaluator`; by default cross entropy and error.
        options: of every line.

    Raises:
        StateError: they are no networks of one kind; both are one module; or `model` is missing.
        CheckpointError: a file is no checkpoint of the network.
        EndsError: the two modules compute different things with the same weights.
        RecipeError, AlphaError, GroupError, DataError, MeasureError, StoreError: as `probe`.
    """
    evaluator = data if isinstance(data, Evaluator) else None
    if model is not None:
        check_module(model)
    hint = "Give True for each block, or groups, as from groups.by_pattern(model, ['weight'])."
    if not isinstance(layers, bool):
        check_type(layers, Mapping, "The value of layers", hint)
    modules = [evaluator.model if evaluator else model, model_b, model_a]
    module = next((unwrapped(each) for each in modules if isinstance(each, nn.Module)), None)
    if module is None:
        raise StateError(
            "Neither of the two is a module, and weights alone cannot be measured. Give a network of their kind: "
            "compare(a, b, data, model=network)."
        )
    if evaluator is not None and measures is not None:
        raise MeasureError(
            "The data are an Evaluator, which has its own measures. Give them to it, and leave them out here."
        )
    if evaluator is None:
        evaluator = Evaluator(module, _by_name(data), ("cross_entropy", "error") if measures is None else measures)
    start, end, files = _networks(model_a, model_b, module)
    first, last = (state.to(evaluator.device) for state in as_ends(start, end, module))
    for network, state in ((start, first), (end, last)):
        if network is not module:
            check_computes_alike(network, state, evaluator)
    probed = probe(first, last, evaluator, by_block(module) if layers is True else layers or None, options)
    for contents in files:
        contents.check_unchanged()
    notes = tuple(note for contents in files for note in contents.notes)
    return replace(probed, notes=tuple(dict.fromkeys((*probed.notes, *notes))))


def _by_name(data: Any) -> Mapping[str, Any]:
    if isinstance(data, Dataset):
        return data.tensors()
    return data if isinstance(data, Mapping) else {"test": data}


def _networks(model_a: Given, model_b: Given, module: nn.Module) -> tuple[Network, Network, list[Contents]]:
    """The two without wrappers and with files read, and what the files hold."""
    read_ends = [
        checkpoints.read(Path(each)) if isinstance(each, str | os.PathLike) else each for each in (model_a, model_b)
    ]
    match read_ends:
        case [Contents() as first, Contents() as last]:
            read_ends = list(pair(first, last, module=module))
    start, end = (
        each.into(module) if isinstance(each, Contents) else unwrapped(each) if isinstance(each, nn.Module) else each
        for each in read_ends
    )
    return start, end, [each for each in read_ends if isinstance(each, Contents)]
