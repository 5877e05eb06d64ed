"""A call of a network as a graph, by `torch.fx` or by recordings of it, each value compared for two and three examples.

Tracing by `torch.fx` takes milliseconds and needs a network that is called with tensors only and whose control flow and
shapes do not depend on them. Recording takes a few calls and needs no such code.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from linescape.engine.flops import DispatchObserver
from linescape.engine.graph import (
    TOLERANCES,
    Call,
    Graph,
    Inseparable,
    NotExportable,
    attributes_kept,
    draws,
    relative_difference,
)
from linescape.engine.growth import Growth
from linescape.engine.recording import OF_SHAPE, name_of, record

aten = torch.ops.aten

_LAYERS: dict[object, Any] = {
    torch.conv1d: aten.conv1d.default,
    torch.conv2d: aten.conv2d.default,
    torch.conv3d: aten.conv3d.default,
    F.linear: aten.linear.default,
}
_ORDER = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_NORM_ORDER = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_RELU = (F.relu, torch.relu, torch.relu_, "relu", "relu_")
_ADD = (operator.add, torch.add, "add")
_ADD_IN_PLACE: dict[Any, Any] = {operator.iadd: operator.add, "add_": "add"}


def trace(network: nn.Module, args: tuple[Any, ...]) -> Graph:
    """The graph of a call with tensors only.

    Raises:
        NotExportable: the call has other arguments, or fewer than three examples; control flow or shapes depend on
            values; examples act on each other; something is written to or drawn; or the code cannot be traced.
    """
    call = Call.of(args, {})
    if len(call.tensors) != len(args) or not all(call.batched) or call.examples < 3:
        raise NotExportable("it is not called with batches alone")
    try:
        if len(inspect.signature(network.forward).parameters) != len(args):
            raise NotExportable("it takes other arguments than batches")
        with _Pure(), attributes_kept(network):
            with _WeightsInGraph(network) as weights:
                graph = _Tracer().trace(network)
            if weights.refused:  # which the network's code may have caught
                raise NotExportable(weights.refused)
            inputs = tuple(node.name for node in graph.nodes if node.op == "placeholder")
            _rename(graph, network)
            weights, constants = _placeholders(graph, network)
        outputs, spec = pytree.tree_flatten(graph.output_node().args[0])
        if not all(isinstance(node, fx.Node) for node in outputs):
            raise NotExportable("it returns something else than tensors")
        graph.output_node().args = (tuple(outputs),)
        traced = Graph(graph, weights, constants, inputs, spec, (Tensor,) * len(outputs), True, 0, (1, float("inf")))
        return _measured(traced, network, call, only_rows=True)
    except NotExportable:
        raise
    except Exception as error:  # whatever a network's code raises when it meets a proxy
        raise NotExportable(f"fx cannot trace it ({error})") from error


def trace_recordings(
    network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Graph, Growth | None]:
    """The graph of a call by recordings of it, and how it depends on the number of examples.

    Of fewer than three examples it is the graph of that number alone.

    Raises:
        NotExportable: the call cannot be recorded; or what it does depends on the number of examples otherwise than by
            the numbers of which shapes are made.
    """
    call = Call.of(args, kwargs)
    whole = record(network, args, kwargs)
    several = call.examples >= 3
    if several:
        two, last = (record(network, *_head(call, count, args, kwargs), answers=whole.answers) for count in (2, 3))
        growth = Growth(two, last)
        growth.check(whole, call.examples)
        growth.write(last)
    else:
        last, growth = whole, None
    asks = last.asks()
    _rename(last.graph, network)
    sizes = (2.0, float("inf")) if several else (call.examples, call.examples)
    graph = Graph(
        last.graph,
        last.weights,
        last.constants,
        last.inputs,
        last.spec,
        last.outputs,
        rows=several,
        floats=0,
        examples=sizes,
        asks=asks,
        answers=last.answers,
    )
    return _measured(graph, network, call, only_rows=False), growth


def _head(
    call: Call, count: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    few_args, few_kwargs = pytree.tree_map(call.head_of_leaf(count), (args, dict(kwargs)))
    return few_args, few_kwargs


def _measured(graph: Graph, network: nn.Module, call: Call, only_rows: bool) -> Graph:
    """A graph with the shapes of its values, found by running it for two and three examples.

    Args:
        graph: is changed.
        network: whose tensors it reads.
        call: is it the graph of.
        only_rows: refuse values that have neither one row for each example nor always the same shape.

    Raises:
        NotExportable: its shapes depend on the number of examples, or something is written to or drawn.
        Inseparable: examples act on each other.
    """
    pure = _Pure()
    shapes: dict[fx.Node, Any] = {}
    rows: set[fx.Node] = set()
    sizes: list[int] = []
    with torch.no_grad():
        for node, two, three in _together(graph.graph, _values_of(graph, network), call, pure):
            fits = _fit(two, three)
            if only_rows and not fits:
                raise NotExportable("its shapes depend on the number of examples")
            if fits:
                _check_apart(two, three)
            shapes[node] = two.to("meta") if isinstance(two, Tensor) else None
            if isinstance(two, Tensor) and two.shape != three.shape:
                rows |= {node} if fits else set()
                sizes += [two.numel() // 2] if node.op != "placeholder" else []
    outputs: Any = graph.graph.output_node().args[0]
    if not all(isinstance(shapes[node], Tensor) for node in outputs):
        raise NotExportable("it returns something else than tensors")
    for node, value in shapes.items():
        if value is not None:
            node.meta["val"] = value
        nodes = [arg for arg in node.args if isinstance(arg, fx.Node)]
        only_tensors = len(nodes) == len(node.args) and all(shapes[arg] is not None for arg in nodes)
        if node.target in _ADD and not node.kwargs and only_tensors:
            node.op, node.target = "call_function", aten.add.Tensor
    graph.graph.eliminate_dead_code()
    return replace(graph, rows=graph.rows and all(node in rows for node in outputs), floats=max(sizes, default=0))


def _values_of(graph: Graph, network: nn.Module) -> dict[str, Tensor]:
    """The values of all placeholders but the inputs."""
    of_network = _tensors(network)
    return {**graph.constants, **{placeholder: of_network[name] for placeholder, name in graph.weights.items()}}


def _check_apart(two: Any, three: Any) -> None:
    if isinstance(two, Tensor) and two is not three and two.is_floating_point():
        first = three[: len(two)] if two.ndim else three
        if relative_difference(two, first) > TOLERANCES.get(two.dtype, 0.0):
            raise Inseparable("the examples of a batch act on each other")


def _fit(two: Any, three: Any) -> bool:
    """Whether a value has one row for each example, or the same shape for any number of examples."""
    if not isinstance(two, Tensor) or two.shape == three.shape:
        return True
    return (2, *two.shape[1:]) == two.shape and (3, *two.shape[1:]) == three.shape


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Whether a layer is not traced into: only BatchNorm, whose code depends on its input's shape."""
        return isinstance(m, _BatchNorm) and type(m).forward is _BatchNorm.forward


class _WeightsInGraph(TorchFunctionMode):
    """Refuses to compute with weights while a network is traced: the results would stay those of the present weights.

    Where code reads ``self.weight``, `torch.fx` gives it a node of the graph. But it finds the tensors themselves in
    ``self.parameters()`` or in a list of its own.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.refused = ""
        self._held = {_address(tensor) for tensor in _tensors(network).values()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if name_of(func) not in OF_SHAPE and self._is_apart(pytree.tree_leaves((args, kwargs))):
            self.refused = f"it computes with weights where torch.fx cannot see it ({name_of(func)})"
            raise NotExportable(self.refused)
        return func(*args, **(kwargs or {}))

    def _is_apart(self, leaves: list[Any]) -> bool:
        """Whether a function reads weights, and no value of the graph, in which case it would be a part of that."""
        if any(isinstance(leaf, fx.Proxy) for leaf in leaves):
            return False
        return any(isinstance(leaf, Tensor) and _address(leaf) in self._held for leaf in leaves)


class _Pure(DispatchObserver):  # type: ignore[no-untyped-call]
    """Refuses what a graph cannot repeat: random numbers, and writing to a value that is used elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if draws(func, args, kwargs):
            raise NotExportable(f"it draws random numbers ({func})")
        if func._schema.is_mutable:
            written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
            values = {**dict(zip((a.name for a in func._schema.arguments), args, strict=False)), **kwargs}
            if any(isinstance(values.get(n), Tensor) and _address(values[n]) in self.inputs for n in written):
                raise NotExportable(f"it writes to a value ({func})")
        return func(*args, **kwargs)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _rename(graph: fx.Graph, network: nn.Module) -> None:
    """Rename layers to the operations that `rewrite` knows."""
    for node in list(graph.nodes):
        with graph.inserting_before(node):
            new = _replacement(graph, node, network)
        if new is not None:
            node.replace_all_uses_with(new)
            graph.erase_node(node)
        elif node.op == "call_method" and node.target == "view":
            node.target = "reshape"  # another memory layout may leave no view of that shape
        elif node.target in _ADD_IN_PLACE and _read_once(node):
            node.target = _ADD_IN_PLACE[node.target]


def _placeholders(graph: fx.Graph, network: nn.Module) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Make placeholders of the network's tensors.

    Returns:
        Placeholder -> name of a parameter or buffer; placeholder -> another tensor.
    """
    first = next(iter(graph.nodes))
    of_network = _tensors(network)
    weights: dict[str, str] = {}
    constants: dict[str, Tensor] = {}
    placeholders: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        name = str(node.target)
        if name not in placeholders:
            with graph.inserting_before(first):
                placeholders[name] = graph.placeholder(f"weight_{len(placeholders)}")
            if name in of_network:
                weights[placeholders[name].name] = name
            else:
                owner, _, last = name.rpartition(".")
                constants[placeholders[name].name] = vars(network.get_submodule(owner))[last]
        node.replace_all_uses_with(placeholders[name])
        graph.erase_node(node)
    if not all(isinstance(value, Tensor) for value in constants.values()):
        raise NotExportable("it holds something else than tensors")
    return weights, constants


def _read_once(node: fx.Node) -> bool:
    """Whether nothing else reads what an operation writes its result over."""
    return isinstance(node.args[0], fx.Node) and len(node.args[0].users) == 1


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


def _replacement(graph: fx.Graph, node: fx.Node, network: nn.Module) -> fx.Node | None:
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        assert isinstance(layer, _BatchNorm)
        if layer.running_mean is None:
            raise NotExportable("it has a BatchNorm that always uses its batch")
        tensors = [
            None if getattr(layer, name) is None else graph.get_attr(f"{node.target}.{name}")
            for name in ("weight", "bias", "running_mean", "running_var")
        ]
        return graph.call_function(aten.batch_norm.default, (node.args[0], *tensors, False, 0.0, layer.eps, False))
    if node.op not in ("call_function", "call_method"):
        return None
    if node.op == "call_function" and node.target is F.batch_norm:
        values: dict[str, Any] = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
        values |= dict(zip(_NORM_ORDER, node.args, strict=False)) | node.kwargs
        if values["training"]:
            raise Inseparable("a BatchNorm uses its batch, so that examples act on each other")
        x, mean, var, weight, bias, _, _, eps = (values[name] for name in _NORM_ORDER)
        return graph.call_function(aten.batch_norm.default, (x, weight, bias, mean, var, False, 0.0, eps, False))
    if node.op == "call_function" and node.target in _LAYERS:
        arguments = {**dict(zip(_ORDER, node.args, strict=False)), **node.kwargs}
        if isinstance(arguments.get("padding"), str):
            return None
        in_order = [arguments[name] for name in _ORDER if name in arguments]
        if list(arguments) != list(_ORDER[: len(in_order)]):
            return None
        return graph.call_function(_LAYERS[node.target], tuple(in_order))
    if node.target in _RELU and node.args:
        written = str(getattr(node.target, "__name__", node.target)).endswith("_")
        if _read_once(node) or not (written or any(node.args[1:]) or any(node.kwargs.values())):
            return graph.call_function(aten.relu.default, node.args[:1])
    return None


def _together(
    graph: fx.Graph, tensors: dict[str, Tensor], call: Call, pure: _Pure
) -> Iterator[tuple[fx.Node, Any, Any]]:
    """Run a graph for the first two and for the first three examples side by side.

    Args:
        graph: its placeholders are the keys of `tensors`, then the call's tensors.
        tensors: placeholder -> value.
        call: of at least three examples.
        pure: watches the operations.

    Yields:
        Each node and its two values, which are released after their last use.
    """
    inputs = [iter(call.head(count).tensors) for count in (2, 3)]
    values: dict[fx.Node, list[Any]] = {}
    last = {used: node for node in graph.nodes for used in node.all_input_nodes}
    for node in graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            values[node] = [tensors[node.name] if node.name in tensors else next(given) for given in inputs]
        else:
            values[node] = [
                _value(node, lambda used, run=run: values[used][run], pure)  # type: ignore[misc]
                for run in range(len(inputs))
            ]
        yield node, *values[node]
        for used in node.all_input_nodes:
            if last[used] is node:
                del values[used]


def _value(node: fx.Node, value_of: Callable[[fx.Node], Any], pure: _Pure) -> Any:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), value_of)
    pure.inputs = {_address(leaf) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
    with pure:
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]
