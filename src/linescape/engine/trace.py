"""A call of a network as a graph, by `torch.fx`: in milliseconds, where the code is plain.

`graph.export` reads more code but costs seconds. This one takes networks that are called with tensors only and whose
control flow and shapes do not depend on them; everything else it leaves to `export`.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from linescape.engine.graph import Call, Graph, NotExportable, largest

aten = torch.ops.aten

_LAYERS: dict[object, Any] = {
    torch.conv1d: aten.conv1d.default,
    torch.conv2d: aten.conv2d.default,
    torch.conv3d: aten.conv3d.default,
    F.linear: aten.linear.default,
}
_ORDER = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_RELU = (F.relu, torch.relu, torch.relu_, "relu", "relu_")
_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")


def trace(network: nn.Module, args: tuple[Any, ...]) -> Graph:
    """The graph of a call with tensors only.

    Raises:
        NotExportable: the call has other arguments, or fewer than three examples; control flow or shapes depend on
            values; or the code cannot be traced.
    """
    call = Call.of(args, {})
    if len(call.tensors) != len(args) or not all(call.batched) or call.examples < 3:
        raise NotExportable("it is not called with batches alone")
    if len(inspect.signature(network.forward).parameters) != len(args):
        raise NotExportable("it takes other arguments than batches")
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # noqa: BLE001 - whatever a network's code raises when it meets a proxy
        raise NotExportable(f"fx cannot trace it ({error})") from error
    inputs = tuple(node.name for node in graph.nodes if node.op == "placeholder")
    weights = _plain(graph, network)
    two, three = (_values(graph, network, weights, call.first(n).tensors) for n in (2, 3))
    outputs, spec = pytree.tree_flatten(graph.output_node().args[0])
    if not all(isinstance(node, fx.Node) and isinstance(two.get(node), Tensor) for node in outputs):
        raise NotExportable("it returns something else than tensors")
    graph.output_node().args = (tuple(outputs),)
    rows = set()
    for node, value in two.items():
        other = three[node]
        if not isinstance(value, Tensor):
            continue
        node.meta["val"] = value.to("meta")
        if value.shape != other.shape:
            if (2, *value.shape[1:]) != value.shape or (3, *value.shape[1:]) != other.shape:
                raise NotExportable("its shapes depend on the number of examples")
            rows.add(node)
    graph.eliminate_dead_code()
    return Graph(
        graph,
        weights,
        constants={},
        inputs=inputs,
        spec=spec,
        rows=all(node in rows for node in outputs),
        floats=largest(two[node].shape[1:] for node in rows if node.op != "placeholder"),
        examples=None,
    )


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Code is followed into every layer but this one, which looks at its input's shape first."""
        return isinstance(m, _BatchNorm)


def _plain(graph: fx.Graph, network: nn.Module) -> dict[str, str]:
    """Give layers the names that `rewrite` knows and make placeholders of weights; returns their names by placeholder."""
    for node in list(graph.nodes):
        with graph.inserting_before(node):
            new = _replacement(graph, node, network)
        if new is not None:
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        elif node.op == "call_method" and node.target == "view":
            node.target = "reshape"  # another memory layout may leave no view of that shape
    first = next(iter(graph.nodes))
    weights: dict[str, str] = {}
    known: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        name = str(node.target)
        if name not in known:
            with graph.inserting_before(first):
                known[name] = graph.placeholder(f"weight_{len(known)}")
            weights[known[name].name] = name
        node.replace_all_uses_with(known[name])
        graph.erase_node(node)
    return weights


def _replacement(graph: fx.Graph, node: fx.Node, network: nn.Module) -> fx.Node | None:
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        assert isinstance(layer, _BatchNorm)
        if layer.running_mean is None:
            raise NotExportable("it has a BatchNorm that always uses its batch")
        held = [
            None if getattr(layer, name) is None else graph.get_attr(f"{node.target}.{name}")
            for name in ("weight", "bias", "running_mean", "running_var")
        ]
        return graph.call_function(aten.batch_norm.default, (node.args[0], *held, False, 0.0, layer.eps, False))
    if node.op not in ("call_function", "call_method"):
        return None
    if node.op == "call_function" and node.target in _LAYERS:
        given = {**dict(zip(_ORDER, node.args, strict=False)), **node.kwargs}
        if isinstance(given.get("padding"), str):
            return None
        named = [given[name] for name in _ORDER if name in given]
        if list(given) != list(_ORDER[: len(named)]):
            return None
        return graph.call_function(_LAYERS[node.target], tuple(named))
    if node.target in _RELU:
        return graph.call_function(aten.relu.default, node.args[:1])
    if node.target in _ADD and not node.kwargs and all(isinstance(arg, fx.Node) for arg in node.args):
        return graph.call_function(aten.add.Tensor, node.args)
    return None


def _values(
    graph: fx.Graph, network: nn.Module, weights: dict[str, str], inputs: tuple[Tensor, ...]
) -> dict[fx.Node, Any]:
    """What every node gives for these inputs."""
    held = {**dict(network.named_parameters(remove_duplicate=False)), **dict(network.named_buffers(remove_duplicate=False))}
    given = iter(inputs)
    found: dict[fx.Node, Any] = {}
    call: Callable[[fx.Node], Any] = found.__getitem__
    for node in graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            found[node] = held[weights[node.name]] if node.name in weights else next(given)
            continue
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), call)
        try:
            if node.op == "call_method":
                found[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                found[node] = node.target(*args, **kwargs)
        except RuntimeError as error:
            raise NotExportable(f"its shapes depend on the number of examples ({error})") from error
    return found
