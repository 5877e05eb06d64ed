"""The batches in which the engine is given data: joined to larger ones, or by length, where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from linescape.errors import DataError
from linescape.evaluation.by_length import ByLength, shortened
from linescape.evaluation.forward import default_forward
from linescape.evaluation.runner import Runner
from linescape.evaluation.subsets import check_independent
from linescape.evaluation.view import DataView

ValuesOf = Callable[[Any], Mapping[str, np.ndarray]]
"""A batch -> measure -> values of its examples, by the engine."""

Places = Mapping[str, np.ndarray]
"""Name of the data -> the place in the data of each example, in the order in which they are measured."""


class EngineBatches:
    """What the engine is given of a view of data.

    Args:
        view: of the data.
        runner: calls the engine.
    """

    def __init__(self, view: DataView, runner: Runner) -> None:
        self._view, self._runner = view, runner
        self._joined: dict[str, list[Any]] = {}
        self._by_length: dict[str, ByLength] | None = None
        self._tried: dict[str, tuple[Mapping[str, Iterable[Any]], Mapping[str, ByLength]]] = {}

    def join(self, name: str, output_bytes: float) -> None:
        """Let the engine have data that were given as tensors in larger batches, if it finds that this changes nothing.

        Args:
            name: of the data.
            output_bytes: that the outputs of one example take.
        """
        self._joined[name] = self._view.joined(name, output_bytes)

    def begin(self) -> int:
        """A walk begins, along which each treatment of BatchNorm is tried anew.

        Returns:
            How many lengths its batches may have, 1 where they are as given.
        """
        self._tried = {}
        return max((len(by.shorter) for by in self._sorted().values()), default=1)

    def warm_up(self, treatment: str, values_of: ValuesOf) -> None:
        """Let the engine decide how it computes under a treatment of BatchNorm, by a few examples."""
        batches, found = self._try(treatment, values_of)
        self._runner.warm_up(batches.values())
        for by in found.values():
            self._runner.warm_up([[by.few], *([batch] for batch in by.shorter)])

    def at_position(self, treatment: str, values_of: ValuesOf) -> tuple[Mapping[str, Iterable[Any]], Places]:
        """The batches to measure the present position by, and in which order their examples come if not as given."""
        batches, found = self._try(treatment, values_of)
        agreeing = {name: by for name, by in found.items() if by.agrees(values_of, self._tolerance)}
        places = {name: by.places for name, by in agreeing.items()}
        return {**batches, **{name: by.batches for name, by in agreeing.items()}}, places

    def _try(self, treatment: str, values_of: ValuesOf) -> tuple[Mapping[str, Iterable[Any]], Mapping[str, ByLength]]:
        """Batches whose examples come as given, and those by length that are possible; found out once a walk."""
        if treatment not in self._tried:
            if self._joined:
                self._runner.warm_up(self._view.batches.values())
            joined = self._joined if self._runner.engine.batch_invariant else {}
            found = {name: by for name, by in self._sorted().items() if self._independent(by, values_of)}
            self._tried[treatment] = {**self._view.batches, **joined}, found
        return self._tried[treatment]

    def _independent(self, by: ByLength, values_of: ValuesOf) -> bool:
        try:
            check_independent("", by.few, values_of, self._tolerance)
        except DataError:
            return False
        return True

    @property
    def _tolerance(self) -> float:
        """Relative and absolute difference of values that are the same up to rounding."""
        dtype = torch.bfloat16 if self._runner.precision else self._runner.dtype
        return 0.1 if dtype in (torch.float16, torch.bfloat16) else 1e-4

    def _sorted(self) -> Mapping[str, ByLength]:
        if self._by_length is None:
            known = self._runner.forward is default_forward  # else it may read anything of a batch
            self._by_length = shortened(self._view.batches) if known else {}
        return self._by_length
