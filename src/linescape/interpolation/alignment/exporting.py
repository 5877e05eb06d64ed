"""A call of a network as a graph of torch's basic operations, by `torch.export`, whose axes can be followed."""

from __future__ import annotations

import copy
import inspect
import io
import math
import operator
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from linescape.engine.graph import Call, Graph, Inseparable, NotExportable, attributes_kept, draws, without_inplace

aten = torch.ops.aten


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
    with_rows = [value for value in values if _has_rows(value, batch)]
    return Graph(
        graph,
        weights,
        constants,
        inputs,
        program.call_spec.out_spec,
        (Tensor,) * len(outputs),
        rows=all(_has_rows(node.meta["val"], batch) for node in outputs),
        floats=max((math.prod(int(side) for side in value.shape[1:]) for value in with_rows), default=0),
        examples=_range(program, batch),
    )


def _has_rows(value: Tensor, batch: int | torch.SymInt) -> bool:
    """Whether a tensor has a row for each example, and not only as many as there happen to be in this call.

    Symbols are compared as such: `==` of theirs would bind the number of examples to the one of this call.
    """
    if not value.ndim:
        return False
    of_value, of_batch = (
        side.node.expr if isinstance(side, torch.SymInt) else side for side in (value.shape[0], batch)
    )
    return bool(of_value == of_batch)


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


def _mutates(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)
