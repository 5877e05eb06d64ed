"""Fast: stands in for a network where it is called, and computes the same with less.

While a path is walked, the same batches pass through the same network again and again, of which only some weights have
changed. So the call is taken as a graph (`graph`), made cheaper (`rewrite`), and cut by what has to be done how often
(`split`). A network that cannot be taken as a graph, or whose graph does not give what the network gives, is called as
it is, and `notes` says so.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from linescape.engine import rewrite
from linescape.engine.graph import APART, Call, Graph, Inseparable, NotExportable, apart, export, refuse_hooks
from linescape.engine.native import build
from linescape.engine.onednn import Kernels, fastest
from linescape.engine.partition import split
from linescape.engine.tracing import check_examples_apart, trace

_CACHE = 24_000_000
"""Bytes that the largest result of an operation should take: batches are passed in parts of that size. By a rule and
not by timing, so that the same walk gives the same bits. With 1 MB of L2 cache a core and 32 MB of L3, ResNet-18 of
width 64 is within 5 % of its best from half to twice as much."""

_CACHE_ON_GPU = 400_000_000
"""The same on a GPU, where it only bounds memory, and small parts would leave the GPU waiting for Python: 512 images of
3 x 32 x 32 for a ResNet-18 of width 64, 124 of 3 x 224 x 224. Chosen by counting, not measured."""

_LEAST, _MOST = 16, 512
"""Examples in a part at least and at most: few do not fill a matrix product, and more gain nothing."""

_KINDS = 8
"""Kinds of call that are exported at most: each takes seconds, and sequences of many lengths are many kinds."""

_WHOLE = 1 << 60

Ends = Callable[[str, str], Tensor]


LIGHT = 2.5e8
"""Bytes of weights that may always be held a second time."""


class Fast(nn.Module):
    """A network that is called like the one it stands in for.

    Args:
        network: in eval mode. Its weights may be written to between calls; `moved` must then be called.
        dtype: what to compute in; by default the network's own type.
        memory: bytes of results that may be kept between calls, for all batches together. A network whose weights take
            more (and more than `LIGHT`) is used with its weights as they lie: folded or in another order they would be
            held a second time.

    Attributes:
        notes: why the network is called as it is, where it is.
        of: the path that is walked.
        compiled: whether operations of `kernels.c` were there for it, which other machines may not have.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype | None = None, memory: float = 2e9) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.memory = memory
        self.training = False
        self.notes: dict[str, None] = {}
        self.of: object = None
        self.compiled = False
        self._graphs: dict[tuple[object, ...], Graph | None] = {}
        self._path: frozenset[str] = frozenset()
        self._ends: Ends | None = None
        self._examples: int | None = None
        self._alpha = 0.0
        self.may_prepare = True
        self._exported = 0
        self._view: tuple[str, frozenset[str]] = ("", frozenset())
        self._plans: dict[tuple[object, ...], _Plan | None] = {}
        self._batch: object = None
        self._left = memory

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def __getitem__(self, index: Any) -> Any:
        """A layer of a network that can be indexed."""
        return self.network[index]  # type: ignore[index]

    @property
    def cuts(self) -> bool:
        """Whether every call so far was found to give the same however its examples are put into batches."""
        known = self._plans.values()
        return bool(known) and all(plan is not None and plan.cuts for plan in known)

    def begin(
        self,
        path: object,
        moving: frozenset[str],
        ends: Ends | None = None,
        examples: int | None = None,
        may_prepare: bool = True,
    ) -> None:
        """A path begins, along which only tensors of these names change. What was kept is dropped.

        Args:
            path: which path, as `of` says from now on.
            moving: names of parameters and buffers.
            ends: where the path is straight, gives a tensor at its ``start`` and at its ``end``.
            examples: in all batches together, if known.
            may_prepare: whether the walk is worth seconds: those of `torch.export`, and of the compiler once.
        """
        self.of = path
        self._path, self._ends, self._examples, self.may_prepare = moving, ends, examples, may_prepare
        self._plans = {}
        self.compiled = False
        self._left = self.memory

    def moved(
        self, view: str, alpha: float, also: frozenset[str] = frozenset(), but: frozenset[str] = frozenset()
    ) -> None:
        """The moving tensors have new values, on a straight path those at alpha.

        Args:
            view: under which name results are kept apart, where one path is looked at in several ways.
            alpha: the position.
            also: tensors that change in this view though the path does not move them.
            but: tensors that have the same values at all positions in this view.
        """
        self._view, self._alpha = (view, (self._path | also) - but), alpha
        self._batch = None
        for plan in self._plans.values():
            if plan is not None:
                plan.move(alpha)

    def at(self, batch: object) -> None:
        """The next call is for the batch of this name; equal names stand for equal batches."""
        self._batch = batch

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns."""
        batch, self._batch = self._batch, None  # a second call for one batch may have other inputs
        try:
            call = Call.of(args, kwargs)
            plan = self._plan(call, args, kwargs)
            if plan is not None and not plan.serves(call):
                raise NotExportable("its code does something else for another number of examples")
        except NotExportable as reason:
            if self.may_prepare:
                self.notes[f"The network was called as it is, not as a graph: {reason}."] = None
            plan = None
        if plan is None:
            return self._as_it_is(args, kwargs)
        parts = call.parts(plan.examples)
        if batch is None:
            found = [plan.run(part) for part in parts]
        else:
            found = [self._kept(plan, (batch, i), part) for i, part in enumerate(parts)]
        outputs = found[0] if len(found) == 1 else [torch.cat(pieces) for pieces in zip(*found, strict=True)]
        return pytree.tree_unflatten(outputs, plan.graph.spec)

    def _kept(self, plan: _Plan, key: object, part: tuple[Tensor, ...]) -> list[Tensor]:
        values = plan.kept.get(key)
        if values is None:
            values = plan.keepable(part)
            size = _held(values.values(), part)
            if size <= self._left:
                plan.kept[key] = values
                self._left -= size
        return plan.run(part, values)

    def _plan(self, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Plan | None:
        key = (call.kind, self._view)
        if key not in self._plans:
            self._plans[key] = None  # if what follows fails, it is not tried again
            if call.kind in self._graphs:
                graph = self._graphs[call.kind]
                self._plans[key] = None if graph is None else self._checked(graph, call, args, kwargs)
            else:
                if self.may_prepare:
                    self._graphs[call.kind] = None
                self._plans[key] = plan = self._new(call, args, kwargs)
                self._graphs[call.kind] = plan.graph
        return self._plans[key]

    def _new(self, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Plan:
        """A plan of a call that has no graph yet: `trace` is tried first, as it takes a hundredth of the time."""
        refuse_hooks(self.network)
        network = self.network
        if self.dtype is not None:
            network = copy.deepcopy(network).to(self.dtype)
        given, named = pytree.tree_map(self._rounded, (args, dict(kwargs)))
        try:
            if named:
                raise NotExportable("it is called with names")
            return self._checked(trace(network, given), call, args, kwargs)
        except Inseparable:
            raise
        except NotExportable:
            if not self.may_prepare:
                raise
        if self._exported == _KINDS:
            raise NotExportable(f"it is called in more than {_KINDS} ways")
        self._exported += 1
        graph = export(network, given, named)
        check_examples_apart(graph, network, Call.of(given, named))
        return self._checked(graph, call, args, kwargs)

    def _checked(self, graph: Graph, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Plan:
        """A plan that gives what the network gives.

        Raises:
            NotExportable: there is none.
        """
        try:
            plan = self._planned(graph, call)
            plan.move(self._alpha)
            self._check(plan, call, args, kwargs)
        except NotExportable:
            raise
        except Exception as error:  # whatever torch raises of an unusual graph: the network can still be called
            raise NotExportable(f"its graph cannot be used ({error})") from error
        return plan

    def _planned(self, graph: Graph, call: Call) -> _Plan:
        moving = self._view[1]
        weights = sum(tensor.nbytes for tensor in self.network.state_dict().values())
        heavy = weights > max(self.memory, LIGHT)
        if heavy:
            self.notes[f"Its weights take {weights / 1e9:.1f} GB, so no faster form of them was made beside."] = None
        if self._ends is not None and self._examples is not None:
            plan = _Plan(graph, self.network, moving, self.dtype, self._ends, heavy, self._kernels())
            # What is not kept would be computed twice, not once; and infinity at an end is none between the ends.
            if self._examples * plan.room <= self.memory and plan.finite(call):
                return plan
        return _Plan(graph, self.network, moving, self.dtype, heavy=heavy, kernels=self._kernels())

    def _kernels(self) -> Kernels | None:
        on_cpu = all(tensor.device.type == "cpu" for _, tensor in _tensors(self.network))
        if not (self.may_prepare and on_cpu and build.kernels()):
            return None
        self.compiled = True
        return Kernels(self.memory, self._examples or math.inf)

    def _check(self, plan: _Plan, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Compare some examples with the network itself, and two halves with the whole.

        Raises:
            NotExportable: they differ, as when the examples of a batch act on each other.
        """
        count = _LEAST if plan.cuts else _WHOLE
        few, cut = call.first(count), pytree.tree_map(call.cut(count), (args, dict(kwargs)))
        half = math.ceil(few.examples / 2) if plan.cuts and few.examples > 3 else _WHOLE
        with torch.no_grad():
            expected = pytree.tree_leaves(self._as_it_is(*cut))
            found = [plan.run(part) for part in few.parts(half)]
        for pieces, whole in zip(zip(*found, strict=True), expected, strict=True):
            value = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
            if value.shape != whole.shape or apart(value, whole) > APART.get(self.dtype or whole.dtype, 0.0):
                raise NotExportable("its graph does not give what the network gives, or examples act on each other")

    def _as_it_is(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        with self._autocast():
            return self.network(*args, **kwargs)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.dtype is None:
            return nullcontext()
        device = next((tensor.device.type for tensor in self.network.parameters()), "cpu")
        return torch.autocast(device, self.dtype)

    def _rounded(self, leaf: Any) -> Any:
        round_it = self.dtype is not None and isinstance(leaf, Tensor) and leaf.dtype.is_floating_point
        return leaf.to(self.dtype) if round_it else leaf


class _Plan:
    """One graph for one set of moving tensors, and what is known of their present values."""

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
        held = dict(_tensors(network))
        self.values: dict[str, Any] = {
            **{place: held[name] for place, name in graph.weights.items()},
            **graph.constants,
        }
        written = {_memory(held[name]) for name in moving}
        moves = {place for place, tensor in self.values.items() if _memory(tensor) in written}
        operations = copy.deepcopy(graph.graph)
        named = {id(held[name]): name for name in moving}
        if ends is not None and all(id(self.values[place]) in named for place in moves):
            for place, (of, end) in rewrite.between_ends(operations, graph.inputs, moves).items():
                self.values[place] = ends(named[id(self.values[of])], end).to(self.values[of])
        if not heavy:
            rewrite.fold_batch_norms(operations, graph.inputs, moves)
        if dtype is not None:
            rewrite.in_precision(operations, [*self.values, *graph.inputs], dtype)
        on_cpu = all(tensor.device.type == "cpu" for tensor in held.values())
        onednn = not heavy and on_cpu and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        rewrite.channels_last(operations, graph.inputs, weights=not onednn and not heavy)
        if onednn:
            fastest(operations, graph.inputs, [*moves, rewrite.ALPHA], kernels)
            self.values |= kernels.rooms if kernels else {}
        self.parts = split(operations, graph.inputs, [*moves, rewrite.ALPHA])
        width = graph.floats * (dtype or torch.float32).itemsize
        self.cuts = graph.rows and graph.examples[0] <= 2 and graph.examples[1] == math.inf
        cache = _CACHE if on_cpu else _CACHE_ON_GPU
        self.examples = min(max(cache // max(width, 1), _LEAST), _MOST) if self.cuts else _WHOLE
        self.room = _bytes(operations, self.parts.kept.gives, dtype)
        self.kept: dict[object, dict[str, Any]] = {}
        self.stale = True
        self.parts.fixed.run(self.values)

    def move(self, alpha: float) -> None:
        """The moving tensors have new values."""
        self.values[rewrite.ALPHA] = alpha
        self.stale = True

    def serves(self, call: Call) -> bool:
        """Whether the graph is for so many examples."""
        least, most = self.graph.examples
        return least <= call.examples <= most

    def finite(self, call: Call) -> bool:
        """Whether what is kept of the first examples is."""
        values = self.keepable(call.first(2 * _LEAST if self.cuts else _WHOLE).tensors).values()
        return all(bool(value.isfinite().all()) for value in values if isinstance(value, Tensor))

    def keepable(self, inputs: tuple[Tensor, ...]) -> dict[str, Any]:
        """What of a batch does not depend on moving weights, and the rest needs."""
        values = {**self.values, **dict(zip(self.graph.inputs, inputs, strict=True))}
        self.parts.kept.run(values)
        return {name: values[name] for name in self.parts.kept.gives}

    def run(self, inputs: tuple[Tensor, ...], kept: Mapping[str, Any] | None = None) -> list[Tensor]:
        """The outputs for a part of a batch."""
        if self.stale:
            self.parts.states.run(self.values)
            self.stale = False
        kept = self.keepable(inputs) if kept is None else kept
        values = {**self.values, **dict(zip(self.graph.inputs, inputs, strict=True)), **kept}
        self.parts.live.run(values)
        return [values[name] for name in self.parts.outputs]


def _bytes(graph: fx.Graph, names: Iterable[str], dtype: torch.dtype | None) -> int:
    """Bytes of these results for one example."""
    wanted, total = set(names), 0
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.name in wanted and isinstance(value, Tensor):
            kind = dtype if dtype and value.is_floating_point() else value.dtype
            total += math.prod(int(side) for side in value.shape[1:]) * kind.itemsize
    return total


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _held(values: Iterable[Any], inputs: Iterable[Tensor]) -> int:
    """Bytes that keeping these values takes, where the inputs are held anyway."""
    known = {_memory(tensor) for tensor in inputs}
    found = {_memory(value): value.untyped_storage().nbytes() for value in values if isinstance(value, Tensor)}
    return sum(size for memory, size in found.items() if memory not in known)
