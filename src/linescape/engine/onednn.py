"""Replaces operations of a graph by the fastest available on the CPU, fused with what follows them.

Weights are put into the layout that oneDNN computes in, once for each state, and the addition and the ReLU after a
convolution happen while its result is in the cache. Where the kernels of `linescape.engine.native` are available, they
compute wide 3x3 convolutions (`winograd`) and those with few channels (`narrow`), and mix the results of two ends
(`blend`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from linescape.engine.native import blend, narrow, winograd
from linescape.engine.rewrite import argument, dependents, maxima, placeholder

aten = torch.ops.aten

_ACTIVATIONS = {aten.relu.default: "relu", aten.sigmoid.default: "sigmoid", aten.tanh.default: "tanh"}


@dataclass
class Kernels:
    """Limits for the use of compiled kernels, and the memory that they need.

    Attributes:
        memory: bytes that weights in Winograd's form, which are four times as large, may take; counted down.
        examples: number that are measured for one state; infinite if unknown.
        buffers: new placeholder -> memory that weights in that form are written to.
    """

    memory: float
    examples: float = math.inf
    buffers: dict[str, Tensor] = field(default_factory=dict)


def fastest(graph: fx.Graph, inputs: Iterable[str], moving: Iterable[str], kernels: Kernels | None = None) -> None:
    """Replace convolutions, linear layers, and mixtures of the results at two ends.

    Args:
        graph: is changed.
        inputs: names of the placeholders of a batch.
        moving: names of the placeholders that change along the path.
        kernels: limits for compiled kernels; None where there are none.
    """
    of_inputs, of_moving = dependents(graph, inputs), dependents(graph, moving)
    for node in list(graph.nodes):
        if node.target is torch.lerp and kernels is not None:
            _mixture(graph, node, of_moving)
        if node.target not in (aten.conv2d.default, aten.linear.default):
            continue
        weight = argument(node, 1)
        if weight in of_inputs or not _supported(weight.meta["val"].dtype):
            continue
        if node.target is aten.conv2d.default:
            _convolution(graph, node, of_moving, kernels)
        else:
            _linear(graph, node)
    graph.eliminate_dead_code()


def _supported(dtype: torch.dtype) -> bool:
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


@dataclass(frozen=True)
class _Tail:
    """What follows an operation and can be fused with it: the addition of another result, a ReLU.

    Attributes:
        last: the last operation of these.
        other: the other result; None without an addition.
        relu: whether there is a ReLU.
    """

    last: fx.Node
    other: Any
    relu: bool

    @classmethod
    def of(cls, node: fx.Node, of_moving: set[fx.Node]) -> _Tail:
        last, other = node, None
        user = _only_user(node)
        if user is not None and user.target is aten.add.Tensor and not user.kwargs:
            addend = user.args[1] if user.args[0] is node else user.args[0]
            alike = (
                isinstance(addend, fx.Node)
                and addend is not node
                and _shape(addend) == _shape(node)
                and addend.meta["val"].dtype == node.meta["val"].dtype
            )
            # What can be kept must not be fused with an addition that moves.
            if alike and (node in of_moving or user not in of_moving):
                last, other = user, addend
        user = _only_user(last)
        relu = user is not None and user.target is aten.relu.default
        return cls(user if user is not None and relu else last, other, relu)


def _convolution(graph: fx.Graph, node: fx.Node, of_moving: set[fx.Node], kernels: Kernels | None) -> None:
    x, weight, bias = (argument(node, position) for position in range(3))
    stride, padding, dilation = (_pair(argument(node, k), default) for k, default in ((3, 1), (4, 0), (5, 1)))
    geometry = (padding, stride, dilation, argument(node, 6) or 1)
    tail = _Tail.of(node, of_moving)
    last = tail.last
    with graph.inserting_before(last):
        if kernels is not None and geometry == ([1, 1], [1, 1], [1, 1], 1) and _suits_winograd(kernels, x, weight):
            weight, bias = _unrounded(weight), _unrounded(bias)
            into = placeholder(graph, f"buffer_for_{weight.name}")
            kernels.buffers[into.name] = torch.empty(_transformed(weight), dtype=torch.float32)
            kernels.memory -= kernels.buffers[into.name].nbytes
            transformed = graph.call_function(winograd.transformed, (weight, into))
            new = graph.call_function(winograd.convolution, (x, transformed, bias, tail.other, tail.relu))
        elif kernels is not None and geometry[2:] == ([1, 1], 1) and _suits_narrow(node, tail):
            last, window = _pooled(tail.last)
            packed, outputs = graph.call_function(narrow.packed, (weight,)), int(weight.meta["val"].shape[0])
            new = graph.call_function(
                narrow.convolution, (x, packed, bias, outputs, stride, padding, window, tail.relu)
            )
        else:
            packed = graph.call_function(torch.ops.mkldnn._reorder_convolution_weight.default, (weight, *geometry))
            fused, activation = torch.ops.mkldnn._convolution_pointwise, "relu" if tail.relu else None
            if tail.other is None:
                new = graph.call_function(fused.default, (x, packed, bias, *geometry, activation or "none", [], ""))
            else:
                args: Any = (x, tail.other, packed, bias, *geometry, "add", 1.0, activation, [], "")
                new = graph.call_function(fused.binary, args)
    _replace(last, new, of_moving)


def _suits_winograd(kernels: Kernels, x: fx.Node, weight: fx.Node) -> bool:
    outputs, inputs, *kernel = weight.meta["val"].shape
    sides = x.meta["val"].shape[2:]
    if kernel != [3, 3] or not all(isinstance(side, int) for side in sides):
        return False
    patches = kernels.examples * math.ceil(sides[0] / winograd.PATCH) * math.ceil(sides[1] / winograd.PATCH)
    pays = winograd.suits(outputs, inputs, *sides) and patches >= winograd.PAYS
    return pays and 4 * _transformed(weight) <= kernels.memory


def _suits_narrow(node: fx.Node, tail: _Tail) -> bool:
    """Whether `narrow` is faster for a convolution and what follows it."""
    outputs, inputs = (int(channels) for channels in argument(node, 1).meta["val"].shape[:2])
    images, pooled = node.meta["val"], _pooled(tail.last)[0] is not tail.last
    possible = images.ndim == 4 and images.dtype == torch.float32 and tail.other is None
    return possible and narrow.suits(inputs, outputs, pooled)


def _pooled(node: fx.Node) -> tuple[fx.Node, tuple[int, int]]:
    """The pooling of a result, and its windows; the result itself and ``(1, 1)`` where it is not pooled."""
    user = _only_user(node)
    if user is None or user.target is not maxima:
        return node, (1, 1)
    rows, columns = user.args[1:3]
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    window, sides = (rows, columns), node.meta["val"].shape[2:]
    fits = all(isinstance(side, int) and side >= size for side, size in zip(sides, window, strict=True))
    return (user, window) if fits else (node, (1, 1))


def _transformed(weight: fx.Node) -> int:
    """Number of elements of a weight in Winograd's form."""
    outputs, inputs = weight.meta["val"].shape[:2]
    return 36 * int(outputs) * int(inputs)


def _mixture(graph: fx.Graph, node: fx.Node, of_moving: set[fx.Node]) -> None:
    """Replace a mixture of the results at two ends, with a BatchNorm and what else follows it."""
    start, end, alpha = node.args
    value = node.meta["val"]
    if value.ndim != 4 or not _supported(value.dtype) or not blend.suits(int(value.shape[1])):
        return
    last, norm = node, ()
    user = _only_user(node)
    if user is not None and user.target is aten.batch_norm.default and not user.args[5]:
        tensors = [_unrounded(argument(user, position)) for position in range(1, 5)]
        if tensors[2] is not None and all(arg is None or arg.op == "placeholder" for arg in tensors):
            last, norm = user, (*tensors, argument(user, 7))
    tail = _Tail.of(last, of_moving)
    with graph.inserting_before(tail.last):
        factors = graph.call_function(blend.factors, (alpha, int(value.shape[1]), *norm))
        new = graph.call_function(blend.mixed, (start, end, factors, tail.other, tail.relu))
    _replace(tail.last, new, of_moving)


def _unrounded(node: Any) -> Any:
    """The value before `in_precision` rounded it, for kernels that read float32."""
    return node.args[0] if isinstance(node, fx.Node) and node.target is aten.to.dtype else node


def _linear(graph: fx.Graph, node: fx.Node) -> None:
    x, weight, bias = node.args[0], node.args[1], argument(node, 2)
    with graph.inserting_before(node):
        packed = graph.call_function(torch.ops.mkldnn._reorder_linear_weight.default, (weight,))
    last, activation = node, "none"
    user = _only_user(node)
    if user is not None and user.target in _ACTIVATIONS and not user.kwargs:
        last, activation = user, _ACTIVATIONS[user.target]
    with graph.inserting_before(last):
        new = graph.call_function(torch.ops.mkldnn._linear_pointwise.default, (x, packed, bias, activation, [], ""))
    _replace(last, new, set())


def _replace(old: fx.Node, new: fx.Node, same: set[fx.Node]) -> None:
    new.meta = dict(old.meta)
    if old in same:
        same.add(new)
    old.replace_all_uses_with(new)


def _pair(value: Any, default: int) -> list[int]:
    if value is None:
        return [default, default]
    return list(value) * (2 if len(value) == 1 else 1)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _shape(node: fx.Node) -> tuple[object, ...]:
    return tuple(str(side) for side in node.meta["val"].shape)
