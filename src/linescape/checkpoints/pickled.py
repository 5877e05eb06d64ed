"""The pickle inside a torch file, read as data: nothing that it names is imported or called.

A pickle is a program that calls functions by name. Here every operation is checked against a list before it runs, and
every name stands for one of a few inert things: an ordered dictionary, a tensor's description, or for anything else a
`Foreign` object that swallows what it is given. So files that hold a training script's own
classes can be read too, without them, and no memory is taken that the file's own bytes do not fill.
(`torch.load` with ``weights_only`` refuses such files, and takes whatever memory a file asks for.)
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, NamedTuple, Self

import torch

OPERATIONS = """
    PROTO FRAME STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE EMPTY_SET TUPLE TUPLE1 TUPLE2 TUPLE3 LIST DICT NONE NEWTRUE
    NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BYTEARRAY8 PUT BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET POP POP_MARK
    DUP APPEND APPENDS SETITEM SETITEMS ADDITEMS FROZENSET GLOBAL STACK_GLOBAL REDUCE NEWOBJ NEWOBJ_EX BUILD BINPERSID
""".split()  # noqa: SIM905 - as many lines as words otherwise
"""What pickles of data consist of."""

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
    """The pickle is damaged, or asks for what pickles of data do not contain."""


class Storage(NamedTuple):
    """Where a file says that numbers lie: the storage's key, what they are, and how many elements."""

    dtype: torch.dtype
    key: str
    elements: int


class Described(NamedTuple):
    """A tensor as a file describes it; offset and stride in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Foreign:
    """An object of a class that is not a checkpoint's business: what it was built from, and nothing else.

    For each class that a pickle names there is a subclass of this one, called by that name.
    """

    given: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *given: Any, **_: Any) -> Self:
        """Keep what it is built from."""
        made = super().__new__(cls)
        made.given = given
        return made

    def __init__(self, *given: Any, **_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    # A pickle fills objects like lists, sets and dictionaries; what it fills in is of no interest.

    def append(self, item: Any) -> None:
        """Take no notice."""

    def extend(self, items: Any) -> None:
        """Take no notice."""

    def add(self, item: Any) -> None:
        """Take no notice."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take no notice."""


class _Function:
    """A function that a pickle may call, with nothing on it that a pickle could change."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *given: Any) -> Any:
        return self.call(*given)

    def __setstate__(self, state: object) -> None:
        raise UnreadableError("it changes one of the reader's functions")


class Loaded(NamedTuple):
    """What a pickle holds.

    Attributes:
        content: tensors in it are `Described`, objects of other classes `Foreign`.
        storages: all that it mentions, by key.
        foreign: the names of classes and functions that were not called.
    """

    content: Any
    storages: dict[str, Storage]
    foreign: list[str]


def load(file: IO[bytes]) -> Loaded:
    """The next pickle of a file, which stands behind it afterwards.

    Raises:
        UnreadableError: it is damaged or no pickle of data.
    """
    begun = file.tell()
    try:
        _check(file)
        file.seek(begun)
        reader = _Inert(file)
        return Loaded(reader.load(), reader.storages, sorted(reader.foreign))
    except UnreadableError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; none of its own code has run
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _check(file: IO[bytes]) -> None:
    for count, (operation, argument, position) in enumerate(pickletools.genops(file)):
        if operation.name not in OPERATIONS:
            raise UnreadableError(f"it holds the operation {operation.name} at byte {position}")
        # A memo slot far beyond the operations so far would make the reader allocate all slots before it.
        if operation.name.endswith("PUT") and isinstance(argument, int) and argument > count:
            raise UnreadableError(f"it uses the memo slot {argument} at byte {position}")


class _Inert(pickle.Unpickler):
    """`pickle.Unpickler` asks these two methods for all that is not plain data."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, Storage] = {}
        self.foreign: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _CALLED:
            return _Function(_CALLED[full])
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        if module == "torch" and isinstance(found := vars(torch).get(name), torch.dtype):
            return found
        self.foreign.add(full)
        return type(full, (Foreign,), {})

    def persistent_load(self, saved: Any) -> Storage:
        match saved:
            case ("storage", torch.dtype() as dtype, str() | int() as key, str(), int() as elements, *view):
                if view and view[0] is not None:
                    raise UnreadableError("it holds a view of a storage, as PyTorch before 0.4 wrote")
                return self.storages.setdefault(str(key), Storage(dtype, str(key), elements))
        raise UnreadableError("it refers to something outside that is no storage")


def _ordered(items: list[Any] | None = None) -> dict[Any, Any]:
    found = _Ordered(items or ())
    if items:
        items.clear()  # a pickle can name one list many times, and would make it into any amount of memory
    return found


class _Ordered(dict[Any, Any]):
    """An `OrderedDict`; what a network's state dict carries as attributes (versions of layers) is not kept."""

    def __setstate__(self, state: Any) -> None:
        """Take no notice."""


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any = None, _hooks: Any = None, metadata: Any = None
) -> Described:
    return _described(storage, getattr(storage, "dtype", None), offset, size, stride, metadata)


def _tensor_of_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> Described:
    return _described(storage, dtype, offset, size, stride, metadata)


def _described(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, metadata: Any) -> Described:
    numbers = [offset, *size, *stride]
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or not _all_int(numbers) or metadata:
        raise UnreadableError("it describes a tensor in a way that torch.save does not")
    return Described(storage, dtype, offset, tuple(size), tuple(stride))


def _all_int(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)


def _first(value: Any, *_: Any) -> Any:
    return value


_CALLED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": lambda make, _kind, given, _state=None: make(*given),
    "torch.Size": _first,
}
