"""Products of bfloat16 on a processor that has no instructions for them.

There torch takes some eighty times as long for a convolution in bfloat16 as for one in float32. A product of two
bfloat16 numbers is exact in float32, and float32 is what processors with instructions add up in. So products are
computed in float32 and rounded once to bfloat16: the same numbers but for the order of the sums.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from linescape.engine.processors import multiplies_bfloat16

_aten = torch.ops.aten
_PRODUCTS = frozenset(
    {
        _aten.convolution.default,
        _aten.convolution_backward.default,
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
        _aten.baddbmm.default,
    }
)
"""What torch's convolutions, linear layers and attention by matrix products consist of, forwards and backwards."""


class _InFloat32(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Products of bfloat16, and theirs alone, are computed in float32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        if func in _PRODUCTS and any(isinstance(each, Tensor) and each.dtype == torch.bfloat16 for each in args):
            args, named = tree_map_only(Tensor, Tensor.float, given)
            return tree_map_only(Tensor, Tensor.bfloat16, func(*args, **named))
        return func(*given[0], **given[1])


def computed_in_float32(device: torch.device) -> bool:
    """Whether products of bfloat16 are computed in float32 on this device, as its processor has no instructions."""
    return device.type == "cpu" and not multiplies_bfloat16(device)


def bfloat16_products(device: torch.device) -> AbstractContextManager[object]:
    """A context in which products of bfloat16 on this device take about as long as in float32, or less."""
    return _InFloat32() if computed_in_float32(device) else nullcontext()  # type: ignore[no-untyped-call]
