"""A stand-in for CUDA graphs on the CPU: a call's operations, done again on the memory of the first time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from linescape.engine.flops import DispatchObserver
from linescape.engine.replay import Captured


class Tape(DispatchObserver):  # type: ignore[no-untyped-call]
    """Writes down operations with their arguments and results; refuses what a CUDA graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            raise RuntimeError(f"operation not permitted when stream is capturing ({func})")
        results = func(*args, **kwargs)
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not is_view:  # a view shows whatever is in the memory of what it is of
            self.operations.append((func, args, kwargs, results))
        return results

    def results(self) -> list[Tensor]:
        return [leaf for *_, made in self.operations for leaf in pytree.tree_leaves(made) if isinstance(leaf, Tensor)]


class Emulator:
    """A `linescape.engine.replay.Capturer`. As in CUDA's shared memory, a replay destroys what was captured later.

    Attributes:
        tapes: of all captures, first to last.
        replays: how many there were of each.
        largest: bytes that each capture says it keeps, at least.
    """

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.tapes: list[Tape] = []
        self.outputs: list[tuple[Tensor, ...]] = []
        self.replays: list[int] = []
        self.size = 0

    def capture(self, function: Callable[[], tuple[Tensor, ...]]) -> Captured:
        function()
        tape = Tape()
        with tape:
            outputs = function()
        self.tapes.append(tape)
        self.outputs.append(outputs)
        self.replays.append(0)
        number = len(self.tapes) - 1
        self._destroy(number, tape.results())  # capture runs nothing
        return Captured(lambda: self._replay(number), outputs, max(self.size, sum(t.nbytes for t in tape.results())))

    def _replay(self, number: int) -> None:
        self.replays[number] += 1
        for func, args, kwargs, results in self.tapes[number].operations:
            again = func(*args, **kwargs)
            for old, new in zip(pytree.tree_leaves(results), pytree.tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old is not new:
                    old.copy_(new)
        for other, tape in enumerate(self.tapes):
            if other != number:
                self._destroy(other, tape.results(), outputs_too=other > number)

    def _destroy(self, number: int, results: list[Tensor], outputs_too: bool = True) -> None:
        kept = () if outputs_too else self.outputs[number]
        memory = {tensor.untyped_storage().data_ptr() for tensor in kept}
        for tensor in results:
            if tensor.untyped_storage().data_ptr() not in memory and tensor.is_floating_point():
                tensor.fill_(float("nan"))
