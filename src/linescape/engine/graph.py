"""A call of a network as a graph of plain operations, by `torch.export`.

Weights and inputs are both placeholders, so one graph serves every state of the network and every batch of a kind.
"""

from __future__ import annotations

import copy
import inspect
import io
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

aten = torch.ops.aten


class NotExportable(Exception):  # noqa: N818 - caught by the engine, which then calls the network itself
    """A call cannot be turned into a graph; the message says why."""


TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""Largest difference of results from the network's own, relative to the largest of these."""


class Inseparable(NotExportable):
    """The examples of a batch act on each other, so batches must be passed as they are given."""


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
        others = tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor))
        kind = (spec, shapes, others, min(examples, 3))  # of fewer, no graph for any number can be found
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
        NotExportable: the network's own code has set an attribute.
    """
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
    """Whether two values have the same leaves: `torch.export` replaces tuples and lists by equal ones."""
    (old, old_spec), (new, new_spec) = pytree.tree_flatten(before), pytree.tree_flatten(now)
    return bool(old_spec == new_spec) and all(left is right for left, right in zip(old, new, strict=True))


def relative_difference(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest expected value; infinite where only one of both is finite.

    Values of other types than floating point give 0 where all are equal, otherwise 1.
    """
    if not expected.is_floating_point():
        return float((actual != expected).any())
    actual, expected = actual.double(), expected.double()
    finite = expected.isfinite()
    if not bool((finite == actual.isfinite()).all()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    difference = (actual - expected)[finite].abs().max()
    return float(difference / expected[finite].abs().max().clamp(min=1e-30)) if float(difference) else 0.0


def export(network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Graph:
    """The graph of one call, for any number of examples.

    Raises:
        NotExportable: control flow depends on values, a buffer changes, or `torch.export` cannot read the code.
    """
    call = Call.of(args, kwargs)
    rows = iter(call.batched)

    def dynamic(leaf: object) -> dict[int, Any] | None:
        several = isinstance(leaf, Tensor) and next(rows) and call.examples > 1
        return {0: torch.export.Dim.AUTO} if several else None

    shapes = pytree.tree_map(dynamic, (args, dict(kwargs)))
    try:
        with (
            warnings.catch_warnings(),
            redirect_stderr(io.StringIO()),  # where torch prints as much of a graph as it had, before it raises
            attributes_kept(network),
            without_inplace(network),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # torch's own: deprecations inside export
            warnings.filterwarnings("error", ".*assigned during export")
            program = torch.export.export(
                network, args, dict(kwargs), dynamic_shapes=_dynamic_shapes(network, *shapes), strict=False
            )
            if any(_mutates(node) for node in program.graph.nodes):
                program = program.run_decompositions({})
        return _graph_of(program)
    except NotExportable:
        raise
    except Exception as error:  # whatever a network's code and torch raise: it can still be called
        raise NotExportable(str(error).strip().split("\n")[0] or type(error).__name__) from error


def _graph_of(program: torch.export.ExportedProgram) -> Graph:
    signature, graph = program.graph_signature, copy.deepcopy(program.graph)
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise NotExportable("the network changes a buffer or an input when it is called")
    # A copy gives nodes other names where those are words of Python's, such as `input`.
    names = {old.name: new.name for old, new in zip(program.graph.nodes, graph.nodes, strict=True)}
    weights = {names[n]: to for n, to in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()}
    constants = {
        names[name]: program.constants[target]
        for name, target in signature.inputs_to_lifted_tensor_constants.items()
        if isinstance(program.constants[target], Tensor)
    }
    tensors = {n.name for n in graph.nodes if n.op == "placeholder" and isinstance(n.meta.get("val"), Tensor)}
    inputs = tuple(names[n] for n in signature.user_inputs if isinstance(n, str) and names[n] in tensors)
    for node in [n for n in graph.nodes if n.op == "placeholder" and n.name not in {*weights, *constants, *inputs}]:
        if node.users:
            raise NotExportable(f"the network computes with {node.name!r}, which is no tensor")
        graph.erase_node(node)  # such as use_cache=False: the graph is for calls with this very value
    outputs = graph.output_node().args[0]
    assert isinstance(outputs, list | tuple)
    if not all(isinstance(node, fx.Node) and isinstance(node.meta.get("val"), Tensor) for node in outputs):
        raise NotExportable("the network returns something else than tensors")
    for node in list(graph.nodes):
        if node.target is aten.view.default:
            node.target = aten.reshape.default  # another memory layout may leave no view of that shape
        elif node.target is aten._native_batch_norm_legit_no_training.default:
            _as_batch_norm(graph, node)
    _check_operations(graph)
    graph.eliminate_dead_code()
    batch = next(node.meta["val"].shape[0] for node in graph.nodes if node.name == inputs[0])
    values = [node.meta["val"] for node in graph.nodes if node.op == "call_function" and _is_tensor(node)]
    with_rows = [value for value in values if value.ndim and value.shape[0] == batch]
    return Graph(
        graph,
        weights,
        constants,
        inputs,
        program.call_spec.out_spec,
        (Tensor,) * len(outputs),
        rows=all(node.meta["val"].ndim and node.meta["val"].shape[0] == batch for node in outputs),
        floats=largest(value.shape[1:] for value in with_rows),
        examples=_range(program, batch),
    )


def _range(program: torch.export.ExportedProgram, batch: int | torch.SymInt) -> tuple[float, float]:
    """Numbers of examples for which control flow is as in the graph."""
    if isinstance(batch, int):
        return batch, batch
    limits = program.range_constraints.get(batch.node.expr)
    if limits is None:
        raise NotExportable("the number of its examples is bound to something else")
    return float(limits.lower), float(limits.upper)


def _check_operations(graph: fx.Graph) -> None:
    """Raise `NotExportable` for random numbers, statistics of a batch, and control flow that depends on values."""
    for node in graph.nodes:
        if node.op == "call_function" and draws(node.target, node.args, node.kwargs):
            raise NotExportable(f"the network draws random numbers ({node.target})")
        if node.target is aten.batch_norm.default and node.args[5]:
            raise Inseparable("a BatchNorm uses its batch, so that examples act on each other")
        if node.op not in ("placeholder", "call_function", "output"):
            raise NotExportable(f"the network's control flow depends on values ({node.op} {node.target})")


def draws(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation draws random numbers; dropout that is switched off does not."""
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    values = {argument.name: argument.default_value for argument in target._schema.arguments}
    values |= dict(zip(values, args, strict=False)) | dict(kwargs)
    return bool(next((values[name] for name in ("train", "training", "dropout_p") if name in values), True))


def _as_batch_norm(graph: fx.Graph, node: fx.Node) -> None:
    """Replace a decomposed BatchNorm by the single operation that `torch.export` gives without decompositions."""
    x, weight, bias, mean, var, momentum, eps = node.args
    firsts = [user for user in node.users if user.target is operator.getitem and user.args[1] == 0]
    if len(firsts) != len(node.users):
        return  # something reads the saved statistics too
    with graph.inserting_before(node):
        single = graph.call_function(aten.batch_norm.default, (x, weight, bias, mean, var, False, momentum, eps, False))
    for first in firsts:
        single.meta = dict(first.meta)
        first.replace_all_uses_with(single)


def _dynamic_shapes(network: nn.Module, args: Any, kwargs: Any) -> Any:
    # `torch.export` wants either one entry for each argument in order, or, with keywords, the arguments' names.
    if not kwargs:
        return tuple(args)
    names = [
        name
        for name, parameter in inspect.signature(network.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return {**dict(zip(names, args, strict=False)), **kwargs}


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


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def largest(shapes: Iterable[Sequence[object]]) -> int:
    """Number of elements of the largest of these shapes."""
    return max((math.prod(int(side) for side in shape) for shape in shapes), default=0)  # type: ignore[call-overload]
