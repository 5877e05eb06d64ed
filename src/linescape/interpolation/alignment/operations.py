"""How the axes of an operation's result follow from those of its arguments.

An operation that is not known here fixes the order of all axes that reach it. So what is derived from a graph may be
less than is possible, and never more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from linescape.interpolation.alignment.axes import Axes, Axis

_ELEMENTWISE = """
abs add alias celu clamp clone contiguous detach detach_ div dropout elu elu_ erf exp feature_dropout gelu hardsigmoid
hardswish hardtanh leaky_relu lift_fresh_copy log log_sigmoid maximum minimum mish mul neg pow relu relu6 relu_ rsqrt
selu sigmoid silu softplus sqrt square sub tanh to type_as _to_copy
"""
_ALONG_AXIS = "softmax log_softmax _softmax _log_softmax"
"""Which treat all units alike."""
_POOLING = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d
avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices upsample_nearest2d upsample_bilinear2d
"""


class Propagation:
    """The axes of each value of a graph, found by running it once; see the module.

    Attributes:
        axes: the sets that axes are in.
        of_values: node -> axes of its result; a list of such for an operation with several results.
    """

    def __init__(self) -> None:
        self.axes = Axes()
        self.of_values: dict[fx.Node, Any] = {}

    def placeholder(self, node: fx.Node, axes: Sequence[Axis]) -> None:
        """The axes of a weight or an input."""
        self.of_values[node] = list(axes)

    def call(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> None:
        """The axes of an operation's result.

        Args:
            node: the operation.
            values: of it, and of its arguments.
        """
        name = _name(node)
        rule = _RULES.get(name) if hasattr(node.target, "_schema") else None  # and not of shapes, as Python's own
        tensors = [used for used in node.all_input_nodes if isinstance(values[used], Tensor)]
        out = values[node]
        if name == "getitem":
            known = self.of_values.get(node.args[0])  # type: ignore[arg-type]
            self.of_values[node] = known[node.args[1]] if known else None
            return
        derived = rule(_Call(self, node, values)) if rule else None
        if derived is None:
            for used in tensors if out is not None else ():  # an assertion gives nothing
                self._fix_all(self.of_values[used], f"what {name} does with it is not known")
            derived = pytree.tree_map(lambda value: [None] * value.ndim if isinstance(value, Tensor) else None, out)
        self.of_values[node] = derived

    def output(self, nodes: Sequence[fx.Node]) -> None:
        """The order of outputs is fixed."""
        for node in nodes:
            self._fix_all(self.of_values[node], "")  # no reason to tell

    def _fix_all(self, axes: Any, reason: str) -> None:
        for axis in axes or ():
            if isinstance(axis, list):
                self._fix_all(axis, reason)
            else:
                self.axes.fix(axis, reason)


def _name(node: fx.Node) -> str:
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


class _Call:
    """One operation: its arguments in order as the schema names them, and what is known of their axes."""

    def __init__(self, of: Propagation, node: fx.Node, values: Mapping[fx.Node, Any]) -> None:
        self.all = of.axes
        self.name = _name(node)
        self._of_values, self._values = of.of_values, values
        names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
        defaults = {a.name: a.default_value for a in node.target._schema.arguments}  # type: ignore[union-attr]
        self.arguments = {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}
        self.given = list(self.arguments.values())
        self.out: Any = values[node]
        self.reason = f"{self.name} joins it with an axis of another order"

    def number(self, name: str) -> Any:
        """The value of an argument, or None."""
        given = self.arguments.get(name)
        return fx.node.map_arg(given, lambda node: self._values[node])

    def shape(self, argument: Any) -> Sequence[int]:
        """The shape of a tensor among the arguments."""
        return tuple(self._values[argument].shape)

    def axes(self, argument: Any) -> list[Axis]:
        """The axes of a tensor among the arguments, as known by now."""
        return [self.all.find(axis) for axis in self._of_values[argument]]

    def tensors(self) -> list[fx.Node]:
        """The arguments that are tensors."""
        flat = pytree.tree_leaves(self.given)
        return [a for a in flat if isinstance(a, fx.Node) and isinstance(self._values[a], Tensor)]

    def same(self, argument: Any, place: int, axis: Axis) -> Axis:
        """A further axis has the order of `axis`; `argument` may be missing (a bias that is None)."""
        if isinstance(argument, fx.Node):
            return self.all.join(axis, self.axes(argument)[place], self.reason)
        return axis

    def fix(self, axes: Sequence[Axis]) -> None:
        """The order of these axes is fixed."""
        for axis in axes:
            self.all.fix(axis, f"{self.name} depends on its order")


_RULES: dict[str, Callable[[_Call], Any]] = {}


def _rule(names: str) -> Callable[[Callable[[_Call], Any]], Callable[[_Call], Any]]:
    def register(rule: Callable[[_Call], Any]) -> Callable[[_Call], Any]:
        _RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return register


@_rule(_ELEMENTWISE + _ALONG_AXIS)
def _elementwise(call: _Call) -> Any:
    """Broadcast from the last axis on; an axis of length 1 takes any order."""
    result: list[Axis] = [None] * call.out.ndim
    known = [False] * call.out.ndim
    for argument in call.tensors():
        sides = zip(reversed(call.axes(argument)), reversed(call.shape(argument)), strict=True)
        for place, (axis, side) in enumerate(sides, 1):
            if side == 1:
                continue
            result[-place] = call.all.join(result[-place], axis, call.reason) if known[-place] else axis
            known[-place] = True
    return [call.all.find(axis) for axis in result]


@_rule("conv1d conv2d conv3d convolution")
def _convolution(call: _Call) -> Any:
    x, weight, bias = call.given[:3]
    groups, of_x, of_weight = call.number("groups") or 1, call.axes(x), call.axes(weight)
    if call.number("transposed"):
        return None
    call.fix([*of_x[2:], *of_weight[2:]])
    if groups == 1:
        call.all.join(of_x[1], of_weight[1], call.reason)
        units = of_weight[0]
    elif groups == call.shape(x)[1]:  # each channel by itself, which gives one or several
        per_channel = call.shape(weight)[0] // groups
        wide = None if of_x[1] is None else (of_x[1][0], of_x[1][1] * per_channel)
        units = call.all.join(wide, of_weight[0], call.reason)
    else:
        call.fix([of_x[1], of_weight[0], of_weight[1]])
        units = None
    units = call.same(bias, 0, units)
    return [None, call.all.find(units), *([None] * (call.out.ndim - 2))]


@_rule("linear")
def _linear(call: _Call) -> Any:
    x, weight, bias = call.given[:3]
    *others, last = call.axes(x)
    call.all.join(last, call.axes(weight)[1], call.reason)
    units = call.same(bias, 0, call.axes(weight)[0])
    return [*others, call.all.find(units)]


@_rule("matmul mm bmm")
def _product(call: _Call) -> Any:
    left, right = call.axes(call.given[0]), call.axes(call.given[1])
    if min(len(left), len(right)) < 2:
        return None
    call.all.join(left[-1], right[-2], call.reason)
    batch = zip_longest(reversed(left[:-2]), reversed(right[:-2]))
    call.fix([axis for pair in batch for axis in pair])
    return [*([None] * (call.out.ndim - 2)), call.all.find(left[-2]), call.all.find(right[-1])]


@_rule("addmm")
def _added_product(call: _Call) -> Any:
    bias, left, right = (call.axes(argument) for argument in call.given[:3])
    call.all.join(left[-1], right[-2], call.reason)
    call.fix(bias[:-1])
    units = call.all.join(right[-1], bias[-1], call.reason) if call.shape(call.given[0])[-1] > 1 else right[-1]
    return [call.all.find(left[-2]), call.all.find(units)]


@_rule("scaled_dot_product_attention")
def _attention(call: _Call) -> Any:
    queries, keys, values = (call.axes(argument) for argument in call.given[:3])
    call.all.join(queries[-1], keys[-1], call.reason)
    for axes in (queries, keys, values):
        call.fix(axes[:-1])
    return [*([None] * (call.out.ndim - 1)), call.all.find(values[-1])]


@_rule("batch_norm instance_norm prelu")
def _by_channel(call: _Call) -> Any:
    """One number of each further tensor for each channel."""
    x, *others = call.tensors()
    axes = call.axes(x)
    for argument in others:
        if call.shape(argument)[0] > 1:
            axes[1] = call.same(argument, 0, axes[1])
    return [call.all.find(axis) for axis in axes]


@_rule("layer_norm rms_norm native_layer_norm")
def _over_last(call: _Call) -> Any:
    x, *others = call.tensors()
    axes = call.axes(x)
    for argument in others:
        for place in range(1, len(call.shape(argument)) + 1):
            axes[-place] = call.same(argument, -place, axes[-place])
    result = [call.all.find(axis) for axis in axes]
    return result if isinstance(call.out, Tensor) else [result, None, None]


@_rule("group_norm")
def _group_norm(call: _Call) -> Any:
    """One group, or one for each channel, treats all channels alike; groups of several do not."""
    if call.number("num_groups") not in (1, call.shape(call.given[0])[1]):
        return None
    return _by_channel(call)


@_rule(_POOLING)
def _pooling(call: _Call) -> Any:
    axes = call.axes(call.given[0])
    spatial = 1 if "1d" in call.name else 3 if "3d" in call.name else 2
    call.fix(axes[-spatial:])
    result = [*axes[:-spatial], *([None] * spatial)]
    return result if isinstance(call.out, Tensor) else [result for _ in call.out]


@_rule("reshape view _unsafe_view flatten unflatten squeeze unsqueeze")
def _reshaping(call: _Call) -> Any:
    x = call.given[0]
    return call.all.reshaped(call.axes(x), call.shape(x), tuple(call.out.shape), f"{call.name} takes its units apart")


@_rule("transpose t permute movedim numpy_T mT")
def _transposing(call: _Call) -> Any:
    axes = call.axes(call.given[0])
    numbered = torch.empty([*range(1, len(axes) + 1)], device="meta")  # each axis is known by its length
    others = [call.number(name) for name in list(call.arguments)[1:]]
    return [axes[side - 1] for side in getattr(torch.ops.aten, call.name)(numbered, *others).shape]


@_rule("mean sum amax amin")
def _reducing(call: _Call) -> Any:
    """A sum or an extreme over units is the same in any order."""
    axes, dims = call.axes(call.given[0]), call.number("dim")
    dims = range(len(axes)) if dims is None else [dims] if isinstance(dims, int) else dims or range(len(axes))
    gone = {dim % len(axes) for dim in dims} if axes else set()
    kept: list[Axis] = [None if place in gone else axis for place, axis in enumerate(axes)]
    return kept if call.number("keepdim") else [axis for place, axis in enumerate(kept) if place not in gone]


@_rule("cat")
def _joining(call: _Call) -> Any:
    dim = (call.number("dim") or 0) % call.out.ndim
    result: list[Axis] | None = None
    for argument in call.tensors():
        axes = call.axes(argument)
        call.fix([axes[dim]])
        result = (
            axes if result is None else [call.all.join(*both, call.reason) for both in zip(result, axes, strict=True)]
        )
    return [None if place == dim else call.all.find(axis) for place, axis in enumerate(result or ())]


@_rule("slice select narrow")
def _cutting(call: _Call) -> Any:
    axes = call.axes(call.given[0])
    dim = (call.number("dim") or 0) % len(axes)
    if call.name == "select" or call.out.shape[dim] != call.shape(call.given[0])[dim]:
        call.fix([axes[dim]])
        axes[dim] = None
    return [axis for place, axis in enumerate(axes) if call.name != "select" or place != dim]


@_rule("expand")
def _expanding(call: _Call) -> Any:
    axes, before = call.axes(call.given[0]), call.shape(call.given[0])
    added = call.out.ndim - len(axes)
    kept = [axis if call.out.shape[added + place] == before[place] else None for place, axis in enumerate(axes)]
    return [*([None] * added), *kept]


@_rule("embedding")
def _embedding(call: _Call) -> Any:
    weight, places = call.given[:2]
    rows, units = call.axes(weight)
    call.all.fix(rows, "")  # the order of a vocabulary: no reason to tell
    return [*call.axes(places), units]


@_rule("constant_pad_nd pad")
def _padding(call: _Call) -> Any:
    axes, before = call.axes(call.given[0]), call.shape(call.given[0])
    changed = [axis for axis, old, new in zip(axes, before, call.out.shape, strict=True) if old != new]
    call.fix(changed)
    return [axis if old == new else None for axis, old, new in zip(axes, before, call.out.shape, strict=True)]
