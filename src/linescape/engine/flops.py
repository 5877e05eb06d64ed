"""How many multiplications and additions a call takes."""

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
    """Of matrix products, convolutions and attention; others are few beside them.

    Torch has a counter too (`torch.utils.flop_counter`), whose first use takes more than a second.
    """
    counter = _Counter()
    with counter:
        call()
    return counter.total


class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation of torch while it is done."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler to keep it out, which takes more than a second


class _Counter(Watching):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.total += 2 * _products(func, args, found)
        return found


def _products(func: Any, args: tuple[Any, ...], found: Any) -> int:
    if func is aten.convolution.default:
        transposed = args[6]
        places = args[0] if transposed else found
        return int(args[1].numel() * places.numel() // places.shape[1])
    if func in (aten.mm.default, aten.bmm.default, aten.linear.default):
        return int(found.numel() * args[0].shape[-1])
    if func in (aten.addmm.default, aten.baddbmm.default):
        return int(found.numel() * args[1].shape[-1])
    if func in _ATTENTION:
        query, key = args[:2]
        return int(2 * math.prod(query.shape) * key.shape[-2])
    return 0
