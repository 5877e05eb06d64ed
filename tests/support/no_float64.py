"""Tensors that behave as on a device without float64 (``mps``): on the CPU, they refuse what it refuses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_DEVICE = torch.device("mps")
_WIDE = (torch.float64, torch.complex128)


class NoFloat64(Tensor):
    """A tensor on such a device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__self__", None) is Tensor.device:
            return _DEVICE
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        if func is Tensor.copy_:
            return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(type(leaf) is Tensor and leaf.ndim for leaf in given):
            raise RuntimeError("Expected all tensors to be on the same device, but found mps and cpu.")
        result = super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, NoFloat64) and leaf.as_subclass(Tensor).dtype in _WIDE:
                raise TypeError("Cannot convert a MPS Tensor to float64: the MPS framework doesn't support float64.")
        return result


def there(value: Tensor) -> NoFloat64:
    return value.as_subclass(NoFloat64)


def to(value: Tensor, *args: Any) -> Tensor:
    """In place of `Tensor.to`, which would look for such a device."""
    if args == (torch.device("cpu"),):
        return value.cpu()
    if args != (_DEVICE,):
        return torch._C.TensorBase.to(value, *args)
    if value.dtype in _WIDE:
        raise TypeError("Cannot convert a MPS Tensor to float64: the MPS framework doesn't support float64.")
    return there(value)
