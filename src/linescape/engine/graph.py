"""A call of a network, and what it computes as a graph of operations.

Weights and inputs are both placeholders, so one graph serves every state of the network and every batch of a kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from linescape.geometry.tensors import in_float64

aten = torch.ops.aten


class NotExportable(Exception):  # noqa: N818 - caught by the engine, which then calls the network itself
    """A call cannot be turned into a graph; the message says why."""


TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""Largest difference of results from the network's own, relative to the largest of these."""


class Inseparable(NotExportable):
    """The examples of a batch act on each other, so batches must be passed as they are given."""


@dataclass(frozen=True)
class _Structure:
    """How the arguments of a call are nested. Torch 2.7 compares such trees, but hashes none with a dictionary."""

    spec: pytree.TreeSpec

    def __hash__(self) -> int:
        return hash((self.spec.type, self.spec.num_nodes))


@dataclass(frozen=True, eq=False)
class Call:
    """The arguments of a call.

    Attributes:
        tensors: all tensors among the arguments, in order.
        batched: which of them have one row for each example.
        examples: number of these rows.
        kind: equal for calls that one graph can serve; hashable.
    """

    tensors: tuple[Tensor, ...]
    batched: tuple[bool, ...]
    examples: int
    kind: tuple[object, ...]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """Describe a call. The first axis of its first tensor counts the examples; tensors as long are batched.

        Raises:
            NotExportable: there is no tensor with a first axis, or an argument cannot be compared.
        """
        leaves, spec = pytree.tree_flatten((args, dict(kwargs)), is_leaf=lambda part: isinstance(part, PackedSequence))
        if any(isinstance(leaf, PackedSequence) for leaf in leaves):
            raise NotExportable("it is called with a packed sequence, whose rows are no examples")
        tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        if not tensors or not tensors[0].ndim:
            raise NotExportable("the network is called without a tensor that has one row an example")
        examples = len(tensors[0])
        batched = tuple(bool(tensor.ndim) and len(tensor) == examples for tensor in tensors)
        shapes = tuple(
            (tensor.dtype, tensor.shape[1:] if rows else tensor.shape, rows)
            for tensor, rows in zip(tensors, batched, strict=True)
        )
        others = tuple((type(leaf), leaf) for leaf in leaves if not isinstance(leaf, Tensor))  # 1 equals True
        kind = (_Structure(spec), shapes, others, min(examples, 3))  # of fewer, no graph for any number can be found
        try:
            hash(kind)
        except TypeError as error:
            raise NotExportable(f"the network is called with a {type(error).__name__}: {error}") from error
        return cls(tensors, batched, examples, kind)

    def head(self, count: int) -> Call:
        """The call for the first `count` examples only."""
        tensors = tuple(map(self.head_of_leaf(count), self.tensors))
        return Call(tensors, self.batched, min(count, self.examples), self.kind)

    def head_of_leaf(self, count: int) -> Callable[[Any], Any]:
        """A function that takes the first `count` rows of an argument with one row an example, and returns others."""
        rows = {id(tensor) for tensor, rows in zip(self.tensors, self.batched, strict=True) if rows}
        return lambda leaf: leaf[:count] if id(leaf) in rows else leaf

    def parts(self, size: int) -> list[tuple[Tensor, ...]]:
        """The tensors in parts of nearly equal size, none of more than `size` examples."""
        count = max(1, math.ceil(self.examples / size))
        if count == 1:
            return [self.tensors]
        split = [
            torch.tensor_split(tensor, count) if rows else (tensor,) * count
            for tensor, rows in zip(self.tensors, self.batched, strict=True)
        ]
        return list(zip(*split, strict=True))


@dataclass(frozen=True, eq=False)
class Graph:
    """What a call computes.

    Attributes:
        graph: operations; its placeholders are `weights`, then `inputs`.
        weights: placeholder -> the name of a parameter or buffer.
        constants: placeholder -> a tensor that the code itself holds.
        inputs: placeholders of the call's tensors, in order.
        spec: how the outputs are put together.
        outputs: the leaves of these, with `Tensor` in place of each that the graph computes.
        rows: whether every output has one row for each example, so that a call can be made in parts.
        floats: numbers in the largest result of an operation, for one example.
        examples: the fewest and the most examples that the graph holds for.
        asks: of the inputs, what the network's code does; the graph is for calls that give the same answers.
        answers: these.
    """

    graph: fx.Graph
    weights: Mapping[str, str]
    constants: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    spec: pytree.TreeSpec
    outputs: tuple[object, ...]
    rows: bool
    floats: int
    examples: tuple[float, float]
    asks: fx.GraphModule | None = None
    answers: tuple[object, ...] = ()

    def answers_alike(self, call: Call) -> bool:
        """Whether the network's code does the same for these inputs."""
        return self.asks is None or bool(self.asks(*call.tensors) == self.answers)

    def returned(self, tensors: Iterable[Tensor]) -> Any:
        """What the network returns, where the graph computes these tensors."""
        computed = iter(tensors)
        return pytree.tree_unflatten([next(computed) if leaf is Tensor else leaf for leaf in self.outputs], self.spec)


def refuse_hooks(network: nn.Module) -> None:
    """Refuse a network with hooks, which may do anything and would be called once only.

    Raises:
        NotExportable: there is a hook.
    """
    if any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules()):
        raise NotExportable("the network has hooks")


@contextmanager
def attributes_kept(network: nn.Module) -> Iterator[None]:
    """Remove the attributes that tracing leaves on a network.

    Raises:
        NotExportable: the network's own code has set an attribute, or is TorchScript, which Python cannot watch.
    """
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in network.modules()):
        raise NotExportable("it is a program of TorchScript")
    before: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (attributes, {name: list(value) if type(value) is list else value for name, value in attributes.items()})
        for layer in network.modules()
        for attributes in (layer._buffers, vars(layer))
    ]
    changed: set[str] = set()
    try:
        yield
    finally:
        for attributes, old in before:
            changed |= {name for name, value in attributes.items() if name not in old or not _same(old[name], value)}
            attributes.clear()
            attributes.update(old)
    if any(not name.startswith("_tensor_constant") for name in changed):
        raise NotExportable("it sets attributes when it is called")


def _same(before: object, now: object) -> bool:
    """Whether two values have the same leaves, as equal tuples and lists have."""
    if before is now:
        return True
    (old, old_spec), (new, new_spec) = pytree.tree_flatten(before), pytree.tree_flatten(now)
    return bool(old_spec == new_spec) and all(left is right for left, right in zip(old, new, strict=True))


def relative_difference(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value; infinite where only one of both is finite.

    Values of other types than floating point give 0 where all are equal, otherwise 1.
    """
    if not expected.is_floating_point():
        return float((actual != expected).any())
    if torch.equal(actual, expected):
        return 0.0
    actual, expected = in_float64(actual), in_float64(expected)
    finite = expected.isfinite()
    if not bool((finite == actual.isfinite()).all()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    difference = (actual - expected)[finite].abs().max()
    return float(difference / expected[finite].abs().max().clamp(min=1e-30)) if float(difference) else 0.0


def draws(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation draws random numbers; dropout that is switched off does not."""
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    values = {argument.name: argument.default_value for argument in target._schema.arguments}
    values |= dict(zip(values, args, strict=False)) | dict(kwargs)
    return bool(next((values[name] for name in ("train", "training", "dropout_p") if name in values), True))


class without_inplace:  # noqa: N801 - a context manager
    """Switches ``inplace=True`` of layers such as ReLU off, so that kept values are not overwritten."""

    def __init__(self, network: nn.Module) -> None:
        self.layers = [layer for layer in network.modules() if getattr(layer, "inplace", False) is True]

    def __enter__(self) -> None:
        for layer in self.layers:
            layer.inplace = False  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        for layer in self.layers:
            layer.inplace = True  # type: ignore[assignment]
