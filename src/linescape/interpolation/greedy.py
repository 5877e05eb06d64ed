"""In which order the layers of two networks can be averaged so that the loss stays lowest: one after another, greedily.

Adilova et al. 2024 (ICLR, arXiv 2307.06966) add layers in a minimal order too; how they find it is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linescape import tensor_file
from linescape.evaluation.evaluator import Evaluator
from linescape.geometry.paths import Only, Path
from linescape.geometry.state import State

_FORMAT = "linescape-greedy-order-1"


@dataclass(frozen=True, eq=False, repr=False)
class GreedyOrder:
    """The result of `greedy_order`.

    Attributes:
        layers: names in the order in which they were added ``(n,)``.
        chosen: mean training loss with so many layers averaged, by which they were chosen, nats ``(n,)``.
        losses: mean test loss with them, nats ``(n,)``.
        errors: test error with them, % ``(n,)``.
    """

    layers: tuple[str, ...]
    chosen: np.ndarray
    losses: np.ndarray
    errors: np.ndarray

    def __repr__(self) -> str:
        return f"<GreedyOrder of {len(self.layers)} layers>"

    def to_bytes(self) -> bytes:
        """All of it as a safetensors file."""
        arrays = {"chosen": self.chosen, "losses": self.losses, "errors": self.errors}
        note = {"format": _FORMAT, "layers": list(self.layers)}
        return tensor_file.encode_sealed(tensor_file.from_arrays(arrays), note)

    @classmethod
    def from_bytes(cls, content: bytes) -> GreedyOrder:
        """What `to_bytes` made.

        Raises:
            LookupError, TypeError, ValueError: it is damaged or something else.
        """
        tensors, note = tensor_file.decode_sealed(content)
        if note["format"] != _FORMAT:
            raise ValueError("it is no order of layers")
        return cls(tuple(note["layers"]), *(tensors[name].numpy() for name in ("chosen", "losses", "errors")))


def greedy_order(
    path: Path, host: State, layers: Mapping[str, Sequence[str]], training: Evaluator, test: Evaluator
) -> GreedyOrder:
    """Average one layer after another, each time the one with which the training loss is lowest.

    It is chosen on training examples, so that the test loss is not lower for having been looked at.

    Args:
        path: between the two networks; its middle is their average.
        host: whose layers the others are.
        layers: name -> names of its tensors; of two with equal losses the first is taken, and NaN is the highest.
        training: measures ``train`` by ``cross_entropy``.
        test: measures ``test`` by ``cross_entropy`` and ``error``.

    Raises:
        StateError, DataError, MeasureError: as of an `Evaluator`.
    """
    left, added = dict(layers), list[str]()
    rows = []
    while left:
        losses = {name: _loss(training(_averaged(path, host, layers, (*added, name)))) for name in left}
        name = min(losses, key=lambda of: math.inf if math.isnan(losses[of]) else losses[of])
        added.append(name)
        del left[name]
        values = test(_averaged(path, host, layers, added))
        measured = (float(values["test", of].mean(dtype=np.float64)) for of in ("cross_entropy", "error"))
        rows.append((losses[name], *measured))
    return GreedyOrder(tuple(added), *np.array(rows).T)


def _loss(values: Mapping[tuple[str, str], np.ndarray]) -> float:
    return float(values["train", "cross_entropy"].mean(dtype=np.float64))


def _averaged(path: Path, host: State, layers: Mapping[str, Sequence[str]], names: Sequence[str]) -> State:
    """The host with these layers averaged."""
    return Only(path, [tensor for name in names for tensor in layers[name]], host).at(0.5)
