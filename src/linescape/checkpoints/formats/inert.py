"""What the names in a pickle stand for: inert objects; nothing is imported or called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

DIMENSIONS = 64
"""The most that a tensor of PyTorch can have."""

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
"""The class of a storage, by its name in a file -> what its elements are."""


class UnreadableError(Exception):
    """The pickle is damaged, or has operations that pickles of data do not contain."""


class Storage(NamedTuple):
    """A storage as a file describes it: its key and the type of its elements."""

    dtype: torch.dtype
    key: str


class Described(NamedTuple):
    """A tensor as a file describes it; offset and stride in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True, eq=False, repr=False)
class Foreign:
    """An object of any other class.

    Attributes:
        kind: the name of the class, or of the function that would have made it.
        state: its attributes, where the pickle sets them.
    """

    kind: str
    state: Any = None


class Name(NamedTuple):
    """A class or function that a pickle names."""

    full: str

    @property
    def known(self) -> bool:
        """Whether it makes a tensor, a part of one, or a dictionary."""
        return self.full in _CALLED


def named(module: str, name: str) -> Any:
    """What a name in a pickle stands for: a dtype, or a `Name`."""
    value = vars(torch).get(name) if module == "torch" else None
    if module in ("torch", "torch.storage") and name in DTYPES:
        return DTYPES[name]
    return value if isinstance(value, torch.dtype) else Name(f"{module}.{name}")


def call(function: Any, arguments: Any) -> Any:
    """The result of a call in a pickle: something known, or a `Foreign` object.

    Raises:
        UnreadableError: it is no call, or none that torch.save writes.
    """
    if not isinstance(arguments, tuple):
        raise UnreadableError("it calls a function with something that is no tuple")
    if isinstance(function, Foreign):
        return Foreign(function.kind)
    if not isinstance(function, Name):
        raise UnreadableError("it calls something that is no function")
    return _CALLED[function.full](*arguments) if function.known else Foreign(function.full)


def shape(value: Any) -> tuple[int, ...]:
    """Sizes, strides or offsets in a pickle.

    Raises:
        UnreadableError: they are not integers, or more than a tensor has dimensions.
    """
    if not isinstance(value, tuple | list) or len(value) > DIMENSIONS or any(type(item) is not int for item in value):
        raise UnreadableError("it describes a tensor by something that is no shape")
    return tuple(value)


def fill(target: dict[Any, Any], items: Iterable[Any]) -> None:
    """Set those items whose key costs no more to hash or print than its bytes in the file."""
    target.update((key, value) for key, value in items if key is None or isinstance(key, str | int | float | Foreign))


def _ordered(items: Any = None) -> dict[Any, Any]:
    ordered: dict[Any, Any] = {}
    if items:
        fill(ordered, items)
        items.clear()  # a pickle can refer to one list many times, which would take any amount of memory
    return ordered


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


_CALLED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": lambda make, _class, arguments, _state=None: call(make, arguments),
    "torch.Size": _first,
}
