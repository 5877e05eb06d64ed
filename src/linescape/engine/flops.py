"""Number of multiplications and additions of a call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

_ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
)


def operations(call: Callable[[], object]) -> int:
    """Multiplications and additions of matrix products, convolutions and attention; all others are negligible.

    The first use of torch's own counter (`torch.utils.flop_counter`) takes more than a second.
    """
    counter = _Counter()
    with counter:
        call()
    return counter.total


class DispatchObserver(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Base of what intercepts each operation of torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler to keep it out, which takes more than a second


class _Counter(DispatchObserver):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += 2 * _products(func, args, result)
        return result


def _products(func: Any, args: tuple[Any, ...], result: Any) -> int:
    if func is aten.convolution.default:
        transposed = args[6]
        positions = args[0] if transposed else result
        return int(args[1].numel() * positions.numel() // positions.shape[1])
    if func in (aten.mm.default, aten.bmm.default, aten.linear.default):
        return int(result.numel() * args[0].shape[-1])
    if func in (aten.addmm.default, aten.baddbmm.default):
        return int(result.numel() * args[1].shape[-1])
    if (
        func is aten.mkldnn_rnn_layer.default
    ):  # an LSTM's layer: inputs, then the weights of inputs and of hidden states
        inputs, *weights = args[:3]
        return int(sum(weight.numel() for weight in weights) * math.prod(inputs.shape[:-1]))
    if func in _ATTENTION:
        query, key = args[:2]
        return int(2 * math.prod(query.shape) * key.shape[-2])
    return 0
