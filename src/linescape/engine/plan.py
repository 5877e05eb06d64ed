"""Plan: a graph, rewritten and cut for one set of moving tensors, which then computes outputs at each position."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from linescape.engine import rewrite
from linescape.engine.graph import Call, Graph
from linescape.engine.onednn import Kernels, fastest
from linescape.engine.partition import Part, split
from linescape.engine.replay import Captures, Replayed

_CACHE = 24_000_000
"""Bytes that the largest result of an operation should take: batches are split into parts of that size. A fixed rule,
not timing, so that the same walk gives the same bits. With 1 MB of L2 cache a core and 32 MB of L3, ResNet-18 of width
64 is within 5 % of its best between half and twice this size."""

_CACHE_ON_GPU = 400_000_000
"""The same on a GPU, where it only bounds memory, and small parts would leave the GPU waiting for Python: 512 images of
3 x 32 x 32 for a ResNet-18 of width 64, 124 of 3 x 224 x 224. Counted, not measured."""

LEAST, _MOST = 16, 512
"""Fewest and most examples in a part: fewer do not fill a matrix product, and more gain nothing."""

UNLIMITED = 1 << 60

Ends = Callable[[str, str], Tensor]
"""(name, ``start`` or ``end``) -> the tensor at that end of a straight path."""


class Plan:
    """A graph, rewritten and cut for one set of moving tensors, with the present values of all but the batch.

    Args:
        graph: of one kind of call.
        network: whose tensors the graph reads.
        moving: names of the tensors that change.
        dtype: what to compute in; None is the network's own type.
        ends: of a straight path, where results at its two ends are to be mixed.
        heavy: whether the weights are too large for a second copy.
        kernels: whether and how compiled kernels may be used.
    """

    def __init__(
        self,
        graph: Graph,
        network: nn.Module,
        moving: frozenset[str],
        dtype: torch.dtype | None,
        ends: Ends | None = None,
        heavy: bool = False,
        kernels: Kernels | None = None,
    ) -> None:
        self.graph = graph
        tensors = dict(tensors_of(network))
        self.values: dict[str, Any] = {
            **{placeholder: tensors[name] for placeholder, name in graph.weights.items()},
            **graph.constants,
        }
        written = {_address(tensors[name]) for name in moving}
        moves = {placeholder for placeholder, tensor in self.values.items() if _address(tensor) in written}
        operations = copy.deepcopy(graph.graph)
        names = {id(tensors[name]): name for name in moving}
        if ends is not None and all(id(self.values[placeholder]) in names for placeholder in moves):
            for new, (weight, end) in rewrite.between_ends(operations, graph.inputs, moves).items():
                self.values[new] = ends(names[id(self.values[weight])], end).to(self.values[weight])
        if not heavy:
            rewrite.fold_batch_norms(operations, graph.inputs, moves)
        if dtype is not None:
            rewrite.in_precision(operations, [*self.values, *graph.inputs], dtype)
        on_cpu = all(tensor.device.type == "cpu" for tensor in tensors.values())
        onednn = not heavy and on_cpu and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        rewrite.channels_last(operations, graph.inputs, weights=not onednn and not heavy)
        if on_cpu:
            rewrite.pool_by_axis(operations)
        if onednn:
            fastest(operations, graph.inputs, [*moves, rewrite.ALPHA], kernels)
            self.values |= kernels.buffers if kernels else {}
        self.parts = split(operations, graph.inputs, [*moves, rewrite.ALPHA])
        width = graph.floats * (dtype or torch.float32).itemsize
        self.batch_invariant = graph.rows and graph.examples[0] <= 2 and graph.examples[1] == math.inf
        cache = _CACHE if on_cpu else _CACHE_ON_GPU
        self.examples = min(max(cache // max(width, 1), LEAST), _MOST) if self.batch_invariant else UNLIMITED
        self.kept_bytes = _bytes(operations, self.parts.kept.gives, dtype)
        self.kept: dict[object, dict[str, Any]] = {}
        self.kept_of: dict[object, tuple[Tensor, ...]] = {}
        self.stale = True
        self.parts.fixed.run(self.values)
        self._states: Part | Replayed = self.parts.states
        self._live: Part | Replayed = self.parts.live

    def replay(self, captures: Captures) -> None:
        """Capture what depends on moving weights, from the second position on, and replay it."""
        parts = self.parts
        of_batch = frozenset((*self.graph.inputs, *parts.kept.gives, *parts.mixed.gives))
        self._states = Replayed(parts.states, captures)
        self._live = Replayed(parts.live, captures, of_batch)

    def update(self, alpha: float) -> None:
        """Take note that the moving tensors have new values, those at alpha."""
        self.values[rewrite.ALPHA] = alpha
        self.stale = True

    def serves(self, call: Call) -> bool:
        """Whether the graph holds for as many examples as the call has."""
        least, most = self.graph.examples
        return least <= call.examples <= most

    def finite(self, call: Call) -> bool:
        """Whether what would be kept of the first examples is finite."""
        values = self.keepable(call.head(2 * LEAST if self.batch_invariant else UNLIMITED).tensors).values()
        return all(bool(value.isfinite().all()) for value in values if isinstance(value, Tensor))

    def keepable(self, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
        """The values that depend on a batch but not on moving weights, and that the rest of the graph needs."""
        values = {**self.values, **dict(zip(self.graph.inputs, inputs, strict=True))}
        self.parts.kept.run(values)
        return {name: values[name] for name in self.parts.kept.gives}

    def run(self, inputs: tuple[Tensor, ...], kept: Mapping[str, Any] | None = None) -> list[Tensor]:
        """The outputs for a part of a batch."""
        if self.stale:
            self._states.run(self.values)
            self.stale = False
        kept = self.keepable(inputs) if kept is None else kept
        values = {**self.values, **dict(zip(self.graph.inputs, inputs, strict=True)), **kept}
        self.parts.mixed.run(values)
        self._live.run(values)
        # Code that reads outputs may write to them, so what is used again is returned as a copy.
        new = (*self.parts.mixed.gives, *self.parts.live.gives)
        return [values[name] if name in new else values[name].clone() for name in self.parts.outputs]


def _bytes(graph: fx.Graph, names: Iterable[str], dtype: torch.dtype | None) -> int:
    """Bytes of these results for one example."""
    counted, total = set(names), 0
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.name in counted and isinstance(value, Tensor):
            kind = dtype if dtype and value.is_floating_point() else value.dtype
            total += math.prod(int(side) for side in value.shape[1:]) * kind.itemsize
    return total


def tensors_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers with their names, shared ones under each of theirs."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def added_bytes(values: Iterable[Any], inputs: Iterable[Tensor]) -> int:
    """Bytes that keeping these values takes in addition to the inputs."""
    of_inputs = {_address(tensor) for tensor in inputs}
    sizes = {_address(value): value.untyped_storage().nbytes() for value in values if isinstance(value, Tensor)}
    return sum(size for address, size in sizes.items() if address not in of_inputs)
