"""What one call of a network reads, writes and draws: each operation of torch is looked at as it is called."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils import _pytree as pytree

from linescape.engine.flops import DispatchObserver
from linescape.engine.graph import draws
from linescape.evaluation.batches import described
from linescape.geometry.tensors import is_continuous

_FROM_PYTHON = torch.ops.aten.lift_fresh.default
"""The operation that `torch.tensor` ends with; what it takes was made by it."""


class Result:
    """What an operation gave, by its memory, which is not kept.

    Args:
        tensor: what it gave.
        of: names of the tensors that it was computed of.

    Attributes:
        is_weight: whether it is the parameter of a module.
    """

    def __init__(self, tensor: Tensor, of: Iterable[str]) -> None:
        self._memory = weakref.ref(tensor.untyped_storage())
        self.of = frozenset(of)
        self.is_weight = isinstance(tensor, nn.Parameter)

    def is_kept(self) -> bool:
        """Whether anything holds it still."""
        return self._memory() is not None


class CallObserver(DispatchObserver):  # type: ignore[no-untyped-call]
    """Takes note of the operations in its context, which is to be one of `torch.no_grad`.

    Args:
        named: tensors to look for, by name. They are told apart by their memory, so views count as their tensors.
        earlier: the `results` of earlier calls.
        given: where other tensors are that may be read, as those of the batch.

    Attributes:
        read: names of those that any operation took.
        written: names of those that any operation wrote to.
        results: what was computed of them, by its address.
        reread: names of those of which an earlier call computed what this one read.
        foreign: tensors of numbers that were read and are none of the above, described; what other threads gave, too.
        differentiates: whether gradients were switched on, as by a network that differentiates.
        draws: whether random numbers were drawn by torch.
    """

    def __init__(
        self, named: Mapping[str, Tensor], earlier: Mapping[int, Result] | None = None, given: Iterable[int] = ()
    ) -> None:
        super().__init__()
        self._names: dict[int, list[str]] = {}
        for name, tensor in named.items():
            for address in addresses(tensor):
                self._names.setdefault(address, []).append(name)
        self._earlier = earlier or {}
        self._known = {*given, *self._names}
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.results: dict[int, Result] = {}
        self.reread: set[str] = set()
        self.foreign: dict[int, Result] = {}
        self.differentiates = False
        self.draws = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at one operation, and do it."""
        kwargs = kwargs or {}
        self.differentiates |= torch.is_grad_enabled()
        self.draws |= draws(func, args, kwargs)
        taken = list(_tensors_and_addresses((args, kwargs)))
        of = set[str]()
        for tensor, address in taken:
            names = self._names.get(address, ())
            self.read.update(names)
            of.update(names)
            if address in self.results:
                of.update(self.results[address].of)
            elif (result := self._earlier.get(address)) and result.is_kept():
                self.reread.update(result.of)
            elif address not in self._known and func is not _FROM_PYTHON and is_continuous(tensor.dtype):
                self.foreign[address] = Result(tensor, [described(tensor)])
        if func._schema.is_mutable:
            written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
            values = {**dict(zip((a.name for a in func._schema.arguments), args, strict=False)), **kwargs}
            for _, address in _tensors_and_addresses([values.get(name) for name in written]):
                self.written.update(self._names.get(address, ()))
        given = func(*args, **kwargs)
        for tensor, address in _tensors_and_addresses(given):
            self._known.add(address)
            self.results.pop(address, None)  # of what was there before
            if of and address not in self._names:
                self.results[address] = Result(tensor, of)
        return given


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Random numbers of torch, NumPy and Python that are drawn inside leave the caller's generators as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - the caller's, put back below
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def seed(number: int) -> None:
    """Seed the generators of torch, NumPy and Python."""
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002 - what a network's code draws from
    random.seed(number)


def generators(device: torch.device) -> list[object]:
    """The states of the generators, to be compared."""
    kind, keys, *others = np.random.get_state()  # noqa: NPY002
    states: list[object] = [_bytes(torch.get_rng_state()), kind, np.asarray(keys).tobytes(), others, random.getstate()]
    return [*states, _bytes(torch.cuda.get_rng_state(device))] if device.type == "cuda" else states


def _bytes(state: Tensor) -> bytes:
    return state.numpy().tobytes()


def drawing_layers(network: nn.Module, call: Callable[[], object], device: torch.device) -> list[str]:
    """Names and classes of the innermost layers in which a call draws random numbers."""
    names = {layer: name for name, layer in network.named_modules()}
    entered: list[tuple[list[object], bool]] = []
    drawing: dict[str, None] = {}

    def enter(_layer: nn.Module, _inputs: object) -> None:
        entered.append((generators(device), False))

    def leave(layer: nn.Module, _inputs: object, _outputs: object) -> None:
        before, inner = entered.pop()
        if before != generators(device):
            if not inner and layer in names:
                drawing[f"{names[layer] or 'its forward'} ({type(layer).__name__})"] = None
            entered[:] = [(state, True) for state, _ in entered]

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave)
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return list(drawing) or ["a layer with a generator of its own"]


def _tensors_and_addresses(values: Any) -> Iterator[tuple[Tensor, int]]:
    for leaf in pytree.tree_leaves(values):
        if isinstance(leaf, Tensor):
            yield from ((leaf, address) for address in addresses(leaf))


def addresses(tensor: Tensor) -> list[int]:
    """Where a tensor's elements are in memory; nowhere, where it has none, or none of its own as a sparse one."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return []
    return [address] if address else []
