"""The batches in which the engine is given data: joined to larger ones, or by length, where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linescape.evaluation.by_length import ByLength, Called, shortened
from linescape.evaluation.forward import default_forward, is_hugging_face
from linescape.evaluation.runner import Runner
from linescape.evaluation.subsets import check_independent
from linescape.evaluation.view import DataView
from linescape.geometry.tensors import in_float64

Call = Callable[[Any, object], Called]
"""A batch, and a name under which the engine may keep results for it or None -> what it gives, by the engine."""

Places = Mapping[str, np.ndarray]
"""Name of the data -> the place in the data of each example, in the order in which they are measured."""


class EngineBatches:
    """What the engine is given of a view of data.

    Args:
        view: of the data.
        runner: calls the engine.
        call: calls it and measures what it gives.
        by_position: whether each measure leaves out positions that do not count.
    """

    def __init__(self, view: DataView, runner: Runner, call: Call, by_position: bool) -> None:
        self._view, self._runner, self._call, self._by_position = view, runner, call, by_position
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
            How many lengths the batches that it calls the network with may have, 1 where they are as given.
        """
        self._tried = {}
        return max((len(by.shorter) + 1 for by in self._sorted().values()), default=1)

    def warm_up(self, treatment: str) -> None:
        """Let the engine decide how it computes under a treatment of BatchNorm, by a few examples."""
        batches, found = self._try(treatment)
        self._runner.warm_up(batches.values())
        self._agreeing(found)

    def at_position(self, treatment: str) -> tuple[Mapping[str, Iterable[Any]], Places]:
        """The batches to measure the present position by, and in which order their examples come if not as given."""
        batches, found = self._try(treatment)
        agreeing = self._agreeing(found)
        places = {name: by.places for name, by in agreeing.items()}
        return {**batches, **{name: by.batches for name, by in agreeing.items()}}, places

    def _agreeing(self, found: Mapping[str, ByLength]) -> Mapping[str, ByLength]:
        """Those whose few examples give the same at the present position without their padding."""
        if not found:
            return {}
        with self._runner.random_state_kept(), self._runner.using_threads():
            return {
                name: by
                for name, by in found.items()
                # These batches are kept as long as this is, so that their `id` stays theirs.
                if by.agrees(lambda batch: self._call(batch, id(batch)), self._tolerances, self._by_position)
            }

    def _try(self, treatment: str) -> tuple[Mapping[str, Iterable[Any]], Mapping[str, ByLength]]:
        """Batches whose examples come as given, and those by length that are possible; found out once a walk."""
        if treatment not in self._tried:
            if self._joined:
                self._runner.warm_up(self._view.batches.values())
            joined = self._joined if self._runner.engine.batch_invariant else {}
            with self._runner.random_state_kept(), self._runner.using_threads():
                found = {name: by for name, by in self._sorted().items() if self._is_possible(by)}
            self._tried[treatment] = {**self._view.batches, **joined}, found
        return self._tried[treatment]

    def _is_possible(self, by: ByLength) -> bool:
        """Whether no example acts on others, no text changes the network for the next, and all have targets."""

        def values_of(batch: Any) -> Mapping[str, np.ndarray]:
            called = self._call(batch, None)
            sizes = {f"output {place}": _sizes(output) for place, output in enumerate(called.outputs) if output.ndim}
            return {**called.values, **sizes}

        try:
            if self._runner.is_changed_by(by.few, by.shorter):
                return False
            for batch in by.batches:  # which are refused where labels are the tokens themselves, as few may be
                self._runner.targets(batch)
            check_independent("", by.few, values_of, self._tolerances[0])
        except Exception:  # whatever a network's or a measure's own code raises
            return False
        return True

    @property
    def _tolerances(self) -> tuple[float, float]:
        """Largest differences of values, and of outputs, that are the same up to rounding."""
        dtype = torch.bfloat16 if self._runner.precision else self._runner.dtype
        return (0.1, 0.03) if dtype in (torch.float16, torch.bfloat16) else (1e-4, 2e-5)

    def _sorted(self) -> Mapping[str, ByLength]:
        if self._by_length is None:
            # What is known of a mask holds for networks of transformers alone, and other code may read all of a batch.
            known = self._runner.forward is default_forward and is_hugging_face(self._runner.model)
            self._by_length = shortened(self._view.batches) if known else {}
        return self._by_length


def _sizes(output: Tensor) -> np.ndarray:
    """How large the outputs of each example are ``(examples,)``."""
    return np.asarray(in_float64(output).reshape(len(output), -1).norm(dim=1).cpu().numpy())
