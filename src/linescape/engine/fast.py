"""Fast: stands in for a network where it is called, and computes the same with fewer operations.

Along a path the same batches pass through the same network again and again, and only some weights change. So the call
is taken as a graph (`graph`), simplified (`rewrite`), and cut by how often each part must be computed (`partition`). A
network that cannot be taken as a graph, or whose graph gives other results, is called as it is, and `notes` says why.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from linescape.engine.graph import (
    TOLERANCES,
    Call,
    Graph,
    Inseparable,
    NotExportable,
    refuse_hooks,
    relative_difference,
)
from linescape.engine.growth import Growth
from linescape.engine.native import build
from linescape.engine.onednn import Kernels
from linescape.engine.plan import LEAST, UNLIMITED, Ends, Plan, added_bytes, tensors_of
from linescape.engine.recording import record
from linescape.engine.replay import Captures, capturer_on
from linescape.engine.settings import settings_of
from linescape.engine.stand_in import StandIn
from linescape.engine.tracing import trace, trace_recordings
from linescape.errors import first_line

_KINDS = 8
"""Most kinds of call that are recorded: each costs several calls, and sequences of many lengths are many kinds. So many
settings of the network's attributes have graphs too."""

LIGHT = 2.5e8
"""Bytes of weights of which a second copy is always allowed."""


class Worth(NamedTuple):
    """Which preparation a walk is worth.

    Attributes:
        compiling: kernels in C may be compiled, in a second or two once on a machine.
        recording: calls may be recorded where `torch.fx` cannot trace the network, in seconds.
        replaying: on a GPU, positions may be captured and replayed.
    """

    compiling: bool = True
    recording: bool = True
    replaying: bool = False

    def exceeds(self, other: Worth) -> bool:
        """Whether it allows anything that another does not."""
        return any(mine and not its for mine, its in zip(self, other, strict=True))


_PREPARED = Worth()


class Fast:
    """Is called like the network that it stands in for.

    Args:
        network: in eval mode. Its weights may be written to between calls; `update` must then be called.
        dtype: what to compute in; by default the network's own type.
        memory: bytes of results that may be kept between calls, for all batches together. A network whose weights take
            more (and more than `LIGHT`) is used with its weights in their own layout, as folded or reordered weights
            are a second copy.
        has_own_code: whether the code between calls is the user's own. It may set attributes of the network, each
            setting of which then has graphs of its own, and give the network what it has computed of moving weights.

    Attributes:
        stand_in: what is given to code in place of the network.
        notes: why the network is called as it is, if it is.
        path: the path that is walked.
        worth: which preparation the walk is worth.
        compiled: whether the kernels of `kernels.c` were available, which other machines may lack.
    """

    def __init__(
        self, network: nn.Module, dtype: torch.dtype | None = None, memory: float = 2e9, has_own_code: bool = True
    ) -> None:
        self.network = network
        self.stand_in: Any = StandIn(self, network)  # a network, to all code
        self.dtype = dtype
        self.memory = memory
        self.notes: dict[str, None] = {}
        self.path: object = None
        self.compiled = False
        self._graphs: dict[tuple[object, ...], Graph | None] = {}
        self._growths: dict[Graph, Growth] = {}
        self._asking: dict[tuple[object, ...], list[Graph]] = {}
        self._moving: frozenset[str] = frozenset()
        self._ends: Ends | None = None
        self._examples: int | None = None
        self._alpha = 0.0
        self.worth = Worth()
        self._recorded = 0
        self._view: tuple[str, frozenset[str]] = ("", frozenset())
        self._plans: dict[tuple[object, ...], Plan | None] = {}
        self._batch: object = None
        self._memory_left = memory
        self._has_own_code = has_own_code
        self._settings: dict[tuple[object, ...], int] = {}
        self._refused = ""  # why a call was first made as it is
        self._tensors = _identities(network)

    @property
    def batch_invariant(self) -> bool:
        """Whether the results of all calls so far do not depend on how examples are put into batches.

        Not where code has asked something of a batch, of which it may make anything.
        """
        plans = self._plans.values()
        return bool(plans) and all(plan and plan.batch_invariant and plan.graph.asks is None for plan in plans)

    def start_path(
        self,
        path: object,
        moving: frozenset[str],
        ends: Ends | None = None,
        examples: int | None = None,
        worth: Worth = _PREPARED,
    ) -> None:
        """Start a path along which only some tensors change, and drop what was kept for the last one.

        Args:
            path: identifies the path.
            moving: names of the parameters and buffers that change.
            ends: for a straight path, gives its tensors at both ends.
            examples: number in all batches together, if known.
            worth: which preparation the walk is worth.
        """
        self.path = path
        self._moving, self._ends, self._examples, self.worth = moving, ends, examples, worth
        self._plans = {}
        self.compiled = False
        self._memory_left = self.memory

    def update(
        self, view: str, alpha: float, also: frozenset[str] = frozenset(), but: frozenset[str] = frozenset()
    ) -> None:
        """Take note that the moving tensors have new values: on a straight path, those at alpha.

        Args:
            view: name of the way in which the path is measured; results of different views are kept apart.
            alpha: the position.
            also: tensors that change in this view although the path does not move them.
            but: tensors that have the same values at all positions in this view.
        """
        self._view, self._alpha = (view, (self._moving | also) - but), alpha
        self._batch = None
        for plan in self._plans.values():
            if plan is not None:
                plan.update(alpha)

    def set_batch(self, batch: object) -> None:
        """Name the batch of the next call; equal names stand for equal batches."""
        self._batch = batch

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns for these arguments."""
        batch, self._batch = self._batch, None  # a second call for one batch may have other inputs
        try:
            call = Call.of(args, kwargs)
            if self.dtype is None and torch.is_autocast_enabled(call.tensors[0].device.type):
                raise NotExportable("it is called inside torch.autocast, which operations of a graph would not follow")
            plan = self._plan(call, args, kwargs)
            if plan is not None:
                self._check_size(plan, call, args, kwargs)
        except NotExportable as reason:
            self._refused = self._refused or str(reason)
            if self.worth.recording:
                self.notes[f"The network was called as it is, not as a graph: {reason}."] = None
            plan = None
        if plan is None:
            return self._call_network(args, kwargs)
        parts = call.parts(plan.examples)
        keys = None if batch is None else [(batch, i) for i in range(len(parts))]
        if keys is None or (self._has_own_code and not _as_kept(plan, keys, parts)):
            results = [plan.run(part) for part in parts]
        else:
            results = [self._run_keeping(plan, key, part) for key, part in zip(keys, parts, strict=True)]
        outputs = results[0] if len(results) == 1 else [torch.cat(pieces) for pieces in zip(*results, strict=True)]
        return plan.graph.returned(outputs)

    def _run_keeping(self, plan: Plan, key: object, part: tuple[Tensor, ...]) -> list[Tensor]:
        values = plan.kept.get(key)
        if values is None:
            values = plan.keepable(part)
            inputs = part if self._has_own_code else ()
            size = added_bytes([*values.values(), *inputs], () if self._has_own_code else part)
            if self._take(size):
                plan.kept[key], plan.kept_of[key] = values, inputs
        return plan.run(part, values)

    def _check_size(self, plan: Plan, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """See that a graph holds for as many examples as a call has.

        Raises:
            NotExportable: it does not.
        """
        if not plan.serves(call):
            raise NotExportable("its code does something else for another number of examples")
        growth = self._growths.get(plan.graph)
        if growth is not None and not growth.known(call.examples):
            with _unusable_graphs_refused():
                growth.check(record(self._rounded_network(), *self._rounded((args, kwargs))), call.examples)

    def _plan(self, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Plan | None:
        kind_and_setting = (call.kind, self._setting())
        asking = self._asking.setdefault(kind_and_setting, [])
        variant = next((place for place, graph in enumerate(asking) if graph.answers_alike(call)), len(asking))
        kind = (*kind_and_setting, variant)
        key = (kind, self._view)
        if key not in self._plans:
            self._plans[key] = None  # if what follows fails, it is not tried again
            if kind in self._graphs:
                graph = self._graphs[kind]
                self._plans[key] = None if graph is None else self._checked(graph, call, args, kwargs)
            else:
                if self.worth.recording:
                    self._graphs[kind] = None
                self._plans[key] = plan = self._new(call, args, kwargs)
                self._graphs[kind] = plan.graph
                if plan.graph.asks is not None:
                    asking.append(plan.graph)
        return self._plans[key]

    def _setting(self) -> int:
        """The number of the present attributes of the network, of those that calls had.

        Raises:
            NotExportable: calls had too many different ones, or the network has other tensors than it had.
        """
        if not self._has_own_code:
            return 0
        if _identities(self.network) != self._tensors:
            raise NotExportable("it was given other weights for a call")
        present = settings_of(self.network)
        if present not in self._settings and len(self._settings) == _KINDS:
            raise NotExportable(self._refused or f"its attributes are set in more than {_KINDS} ways between calls")
        return self._settings.setdefault(present, len(self._settings))

    def _new(self, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Plan:
        """A plan for a kind of call that has no graph yet: `trace` is tried first, as it is a hundred times faster."""
        refuse_hooks(self.network)
        network = self._rounded_network()
        rounded_args, rounded_kwargs = self._rounded((args, kwargs))
        try:
            if rounded_kwargs:
                raise NotExportable("it is called with names")
            return self._checked(trace(network, rounded_args), call, args, kwargs)
        except Inseparable:
            raise
        except NotExportable:
            if not self.worth.recording:
                raise
        if self._recorded == _KINDS:
            raise NotExportable(f"it is called in more than {_KINDS} ways")
        self._recorded += 1
        graph, growth = trace_recordings(network, rounded_args, rounded_kwargs)
        plan = self._checked(graph, call, args, kwargs)
        if growth is not None:
            self._growths[graph] = growth
        return plan

    def _checked(self, graph: Graph, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Plan:
        """A plan whose results were compared with those of the network.

        Raises:
            NotExportable: the graph cannot be used.
        """
        with _unusable_graphs_refused():
            plan = self._planned(graph, call)
            plan.update(self._alpha)
            self._check(plan, call, args, kwargs)
        capturer = capturer_on(call.tensors[0].device) if self.worth.replaying else None
        if capturer is not None:
            plan.replay(Captures(capturer, self._take, lambda note: self.notes.setdefault(note)))
        return plan

    def _take(self, size: int) -> bool:
        """Whether so many bytes more may be kept, which then are."""
        if size > self._memory_left:
            return False
        self._memory_left -= size
        return True

    def _planned(self, graph: Graph, call: Call) -> Plan:
        moving = self._view[1]
        weights = sum(tensor.nbytes for tensor in self.network.state_dict().values())
        heavy = weights > max(self.memory, LIGHT)
        if heavy:
            self.notes[f"Its weights take {weights / 1e9:.1f} GB, so no faster copy of them was made."] = None
        if self._ends is not None and self._examples is not None:
            plan = Plan(graph, self.network, moving, self.dtype, self._ends, heavy, self._kernels())
            # What is not kept would be computed twice, not once. And what is infinite at an end is finite between.
            if self._examples * plan.kept_bytes <= self.memory and plan.finite(call):
                return plan
        return Plan(graph, self.network, moving, self.dtype, heavy=heavy, kernels=self._kernels())

    def _kernels(self) -> Kernels | None:
        on_cpu = all(tensor.device.type == "cpu" for _, tensor in tensors_of(self.network))
        if not (self.worth.compiling and on_cpu):
            return None
        library, note, _ = build.compiled()
        if note and any(isinstance(layer, nn.Conv2d) for layer in self.network.modules()):
            self.notes[note] = None
        if library is None:
            return None
        self.compiled = True
        return Kernels(self.memory, self._examples or math.inf)

    def _check(self, plan: Plan, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Compare the results for some examples with the network's own, and those of two halves with the whole.

        Raises:
            NotExportable: they differ, as where the examples of a batch act on each other.
        """
        count = LEAST if plan.batch_invariant else UNLIMITED
        few, few_arguments = call.head(count), pytree.tree_map(call.head_of_leaf(count), (args, dict(kwargs)))
        half = math.ceil(few.examples / 2) if plan.batch_invariant and few.examples > 3 else UNLIMITED
        with torch.no_grad():
            leaves = pytree.tree_leaves(self._call_network(*few_arguments))
            expected = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            results = [plan.run(part) for part in few.parts(half)]
        for pieces, whole in zip(zip(*results, strict=True), expected, strict=True):
            value = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
            tolerance = TOLERANCES.get(self.dtype or whole.dtype, 0.0)
            if value.shape != whole.shape or relative_difference(value, whole) > tolerance:
                raise NotExportable("its graph does not give what the network gives, or examples act on each other")

    def _call_network(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        own = pytree.tree_map_only(Tensor, torch.clone, (args, dict(kwargs)))  # which the network may write to
        with self._autocast():
            return self.network(*own[0], **own[1])

    def _autocast(self) -> AbstractContextManager[object]:
        if self.dtype is None:
            return nullcontext()
        device = next((tensor.device.type for tensor in self.network.parameters()), "cpu")
        return torch.autocast(device, self.dtype)

    def _rounded_network(self) -> nn.Module:
        """The network, or a copy of it in the type that is computed in.

        Raises:
            NotExportable: it cannot be copied.
        """
        if self.dtype is None:
            return self.network
        try:
            return copy.deepcopy(self.network).to(self.dtype)
        except Exception as error:  # whatever a network's own parts raise
            raise NotExportable(f"it cannot be copied ({error})") from error

    def _rounded(self, arguments: tuple[tuple[Any, ...], Mapping[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def rounded(leaf: Any) -> Any:
            round_it = self.dtype is not None and isinstance(leaf, Tensor) and leaf.dtype.is_floating_point
            return leaf.to(self.dtype) if round_it else leaf

        args, kwargs = pytree.tree_map(rounded, (arguments[0], dict(arguments[1])))
        return args, kwargs


def _identities(network: nn.Module) -> tuple[int, ...]:
    return tuple(id(tensor) for _, tensor in tensors_of(network))


def _as_kept(plan: Plan, keys: Sequence[object], parts: Sequence[tuple[Tensor, ...]]) -> bool:
    """Whether the parts of a batch are those of which results are kept; not where they are made of moving weights.

    A GPU is waited for once. Once for all batches of a position is not possible: what the network returns depends on
    the answer, and the user's own code has it before the next batch.
    """
    pairs = [
        pair
        for key, part in zip(keys, parts, strict=True)
        if key in plan.kept
        for pair in zip(plan.kept_of[key], part, strict=True)
    ]
    if any(before.shape != now.shape for before, now in pairs):
        return False
    devices = {tensor.device for pair in pairs for tensor in pair}
    if len(devices) != 1 or torch.device("cpu") in devices:
        return all(torch.equal(before, now) for before, now in pairs)
    return bool(torch.stack([(before == now).all() for before, now in pairs]).all())


@contextmanager
def _unusable_graphs_refused() -> Iterator[None]:
    """Whatever torch raises of an unusual graph as `NotExportable`: the network can still be called."""
    try:
        yield
    except NotExportable:
        raise
    except Exception as error:
        raise NotExportable(f"its graph cannot be used ({first_line(error)})") from error
