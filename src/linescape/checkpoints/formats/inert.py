"""What torch's names in a pickle are replaced by: descriptions of tensors; nothing of torch is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from linescape.data.pickles import UnreadableError as UnreadableError
from linescape.data.pickles import call, fill

DIMENSIONS = 64
"""The most dimensions that a PyTorch tensor has."""

DTYPES = {
    f"{kind}Storage": dtype
    for kind, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
        "ComplexFloat": torch.complex64,
        "ComplexDouble": torch.complex128,
        "Untyped": torch.uint8,
    }.items()
}
"""Name of the class of a storage -> type of its elements."""


class Storage(NamedTuple):
    """A storage as a file describes it: the type of its elements and its key."""

    dtype: torch.dtype
    key: str


class Described(NamedTuple):
    """A tensor as a file describes it; offset and stride in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def shape(value: Any) -> tuple[int, ...]:
    """Sizes, strides or offsets in a pickle.

    Raises:
        UnreadableError: they are not integers, or more than a tensor has dimensions.
    """
    if not isinstance(value, tuple | list) or len(value) > DIMENSIONS or any(type(item) is not int for item in value):
        raise UnreadableError("it describes a tensor by something that is no shape")
    return tuple(value)


class Ordered(dict[Any, Any]):
    """An `OrderedDict`, with its attributes: a state dict has the versions of its modules as one."""

    state: Any = None


def _ordered(items: Any = None) -> Ordered:
    made = Ordered()
    if items:
        fill(made, items)
        items.clear()  # a pickle can refer to one list many times, which would take any amount of memory
    return made


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any = None, _hooks: Any = None, metadata: Any = None
) -> Described:
    return _tensor_of_dtype(storage, offset, size, stride, _grad, _hooks, getattr(storage, "dtype", None), metadata)


def _tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> Described:
    if metadata:
        raise UnreadableError(
            "a tensor in it is a conjugate or negative view: save its `.resolve_conj().resolve_neg()`"
        )
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or type(offset) is not int:
        raise UnreadableError("it describes a tensor in a way that torch.save does not")
    return Described(storage, dtype, offset, shape(size), shape(stride))


def _first(value: Any, *_: Any) -> Any:
    return value


def _listed(items: Any = ()) -> list[Any]:
    return items if isinstance(items, list) else []


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": lambda make, _kind, given, _state=None: call(make, given, FUNCTIONS),
    "torch.Size": _first,
    "builtins.set": _listed,
    "__builtin__.set": _listed,
}
"""Names in a pickle -> the functions that replace them."""
