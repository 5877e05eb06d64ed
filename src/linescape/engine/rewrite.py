"""Makes a graph cheaper without changing what it computes, except for rounding.

A BatchNorm with fixed statistics after a convolution or a linear layer is a scaling of its weights: it is folded into
them, once for each state instead of once for each example. Images are laid out with channels last. Rewrites for the CPU
only are in `onednn`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

aten = torch.ops.aten

ALPHA = "position_alpha"
"""Name of the placeholder for the position on a straight line."""

_PRODUCTS = 64
"""Products for one number of a result from which on mixing two results is faster than computing one."""

_POOLING = (F.max_pool2d, torch.max_pool2d, aten.max_pool2d.default)

_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)


def dependents(graph: fx.Graph, names: Iterable[str]) -> set[fx.Node]:
    """The placeholders of these names, and every node that depends on one."""
    roots = set(names)
    depending: set[fx.Node] = set()
    for node in graph.nodes:
        if (node.op == "placeholder" and node.name in roots) or any(arg in depending for arg in node.all_input_nodes):
            depending.add(node)
    return depending


def fold_batch_norms(graph: fx.Graph, inputs: Iterable[str], moving: Iterable[str]) -> None:
    """Fold each BatchNorm into the layer before it, unless only the norm moves and the layer's result can be kept."""
    of_inputs, of_moving = dependents(graph, inputs), dependents(graph, moving)
    for node in list(graph.nodes):
        if node.target is not aten.batch_norm.default:
            continue
        layer, *norm, training = (argument(node, position) for position in range(6))
        if training or not isinstance(layer, fx.Node) or layer.target not in (*_CONVOLUTIONS, aten.linear.default):
            continue
        weight, bias = argument(layer, 1), argument(layer, 2)
        of_layer = [arg for arg in (weight, bias) if isinstance(arg, fx.Node)]
        of_norm = [arg for arg in norm if isinstance(arg, fx.Node)]
        read_elsewhere = len(layer.users) > 1
        if read_elsewhere or norm[2] is None or any(arg in of_inputs for arg in of_layer):
            continue
        if layer.meta["val"].ndim != weight.meta["val"].ndim:
            continue  # after a linear layer of sequences, the second axis, which is normed, is not the layer's
        if any(arg.op != "placeholder" or arg in of_inputs for arg in of_norm):
            continue
        if layer not in of_moving and any(arg in of_moving for arg in of_norm):
            continue
        with graph.inserting_before(layer):
            both = graph.call_function(folded, (weight, bias, *norm, node.args[7]))
            new_weight = graph.call_function(operator.getitem, (both, 0))
            new_bias = graph.call_function(operator.getitem, (both, 1))
        new_weight.meta, new_bias.meta = dict(of_layer[0].meta), dict(norm[2].meta)
        layer.args = (layer.args[0], new_weight, new_bias, *layer.args[3:])
        node.replace_all_uses_with(layer)
        graph.erase_node(node)
    graph.eliminate_dead_code()


def folded(
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor,
    var: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer and the BatchNorm after it: ``scale * (W x + b - mean) / sqrt(var + eps) + shift``.

    Args:
        weight: the layer's weight W, outputs first.
        bias: its bias b ``(outputs,)``; None is 0.
        scale: BatchNorm's weight ``(outputs,)``; None is 1.
        shift: BatchNorm's bias ``(outputs,)``; None is 0.
        mean: the running mean ``(outputs,)``.
        var: the running variance ``(outputs,)``.
        eps: BatchNorm's epsilon.
    """
    factor = torch.rsqrt(var + eps)
    if scale is not None:
        factor = factor * scale
    offset = -mean if bias is None else bias - mean
    new_bias = offset * factor
    if shift is not None:
        new_bias = new_bias + shift
    return weight * factor.view(-1, *(1,) * (weight.ndim - 1)), new_bias


def between_ends(graph: fx.Graph, inputs: Iterable[str], moving: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Compute layers with moving weights and a fixed input from their results at the two ends.

    ``W(alpha) x + b(alpha) = (1 - alpha) (W0 x + b0) + alpha (W1 x + b1)`` for weights on a straight line. So the
    results at the two ends are computed once for each batch and only mixed at each position, from the placeholder
    `ALPHA`.

    Returns:
        New placeholder -> (the weight's placeholder, ``start`` or ``end``).
    """
    names = set(moving)
    of_inputs, of_moving = dependents(graph, inputs), dependents(graph, names)
    new: dict[str, tuple[str, str]] = {}
    alpha = None
    for node in list(graph.nodes):
        if node.target not in (*_CONVOLUTIONS, aten.linear.default):
            continue
        x, weights = node.args[0], [arg for arg in node.args[1:3] if isinstance(arg, fx.Node)]
        plain = all(arg.op == "placeholder" and arg not in of_inputs for arg in weights)
        if x not in of_inputs or x in of_moving or not plain or not any(arg in of_moving for arg in weights):
            continue
        if math.prod(weights[0].meta["val"].shape[1:]) < _PRODUCTS:
            continue
        if alpha is None:
            alpha = placeholder(graph, ALPHA)
        results = []
        for end in ("start", "end"):
            args = list(node.args)
            for position, arg in enumerate(args):
                if arg in weights and arg.name in names:
                    args[position] = placeholder(graph, f"{arg.name}_{end}", like=arg)
                    new[args[position].name] = (arg.name, end)
            with graph.inserting_before(node):
                results.append(graph.call_function(node.target, tuple(args)))
            results[-1].meta = dict(node.meta)
        with graph.inserting_before(node):
            mixed = graph.call_function(torch.lerp, (*results, alpha))
        mixed.meta = dict(node.meta)
        node.replace_all_uses_with(mixed)
        graph.erase_node(node)
    return new


def placeholder(graph: fx.Graph, name: str, like: fx.Node | None = None) -> fx.Node:
    """The placeholder of this name, which is added if there is none."""
    node: fx.Node
    for node in graph.nodes:
        if node.op == "placeholder" and node.name == name:
            return node
    with graph.inserting_before(next(iter(graph.nodes))):
        new = graph.placeholder(name)
    new.meta = dict(like.meta) if like else {}
    return new


def in_precision(graph: fx.Graph, placeholders: Iterable[str], dtype: torch.dtype) -> None:
    """Round weights (after folding) and inputs to a type, in a graph that was made for a network of that type."""
    names = set(placeholders)
    for node in list(graph.nodes):
        of_folding = node.target is operator.getitem and node.args[0].target is folded
        if not of_folding and not (node.op == "placeholder" and node.name in names):
            continue
        if not node.meta["val"].dtype.is_floating_point:
            continue
        users = [user for user in node.users if user.target is not folded]
        with graph.inserting_after(node):
            rounded = graph.call_function(aten.to.dtype, (node, dtype))
        rounded.meta = dict(node.meta)
        for user in users:
            user.replace_input_with(node, rounded)
    if any(node.op == "placeholder" and node.next.op != "placeholder" for node in graph.nodes):
        _placeholders_first(graph)


def _placeholders_first(graph: fx.Graph) -> None:
    first = next((node for node in graph.nodes if node.op != "placeholder"), None)
    for node in list(graph.nodes):
        if node.op == "placeholder" and first is not None:
            first.prepend(node)


def channels_last(graph: fx.Graph, inputs: Iterable[str], weights: bool) -> None:
    """Lay out images that a convolution reads with the channels last, as convolutions are then faster.

    With `weights`, those of the convolutions too.
    """
    names = set(inputs)
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for node in list(graph.nodes):
        if node.target is not aten.conv2d.default:
            continue
        if weights:
            with graph.inserting_before(node):
                node.args = (node.args[0], _laid_out(graph, node.args[1]), *node.args[2:])
        source = node.args[0]
        if source.target is aten.to.dtype:
            source = source.args[0]
        if source.name in names:
            with graph.inserting_before(first):
                laid_out = _laid_out(graph, source)
            source.replace_all_uses_with(laid_out, delete_user_cb=lambda user, new=laid_out: user is not new)
            names.discard(source.name)


def _laid_out(graph: fx.Graph, node: fx.Node) -> fx.Node:
    new = graph.call_function(aten.contiguous.default, (node,), {"memory_format": torch.channels_last})
    new.meta = dict(node.meta)
    return new


def pool_by_axis(graph: fx.Graph) -> None:
    """Take maxima of windows side by side over rows, then over columns, which a CPU does several times as fast.

    Maxima are exact, so no number changes; NaN stays NaN in both.
    """
    for node in list(graph.nodes):
        window = _window(node) if node.target in _POOLING else None
        if window is None:
            continue
        with graph.inserting_before(node):
            new = graph.call_function(maxima, (node.args[0], *window))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        graph.erase_node(node)


def maxima(images: Tensor, rows: int, columns: int) -> Tensor:
    """The largest value of each window of ``rows x columns``; as in pooling, what fills no window is left out."""
    height, width = (size // step * step for size, step in zip(images.shape[-2:], (rows, columns), strict=True))
    if not height or not width:  # torch refuses images smaller than a window, where these would be no numbers
        return F.max_pool2d(images, (rows, columns))
    full = images[..., :height, :width]
    by_row = functools.reduce(torch.maximum, (full[..., row::rows, :] for row in range(rows)))
    return functools.reduce(torch.maximum, (by_row[..., column::columns] for column in range(columns)))


def _window(node: fx.Node) -> tuple[int, int] | None:
    """Rows and columns of the windows of a pooling; None if they overlap, leave gaps or are padded."""
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    kernel = _pair(given["kernel_size"])
    apart = _pair(given.get("stride") or kernel) == kernel and _pair(given.get("dilation", 1)) == (1, 1)
    padded = _pair(given.get("padding", 0)) != (0, 0) or given.get("ceil_mode") or given.get("return_indices")
    return kernel if apart and not padded and "input" not in node.kwargs else None


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else (value * 2 if len(value) == 1 else value)
    return rows, columns


def argument(node: fx.Node, position: int) -> Any:
    """A positional argument, or None where it is left out."""
    return node.args[position] if len(node.args) > position else None
