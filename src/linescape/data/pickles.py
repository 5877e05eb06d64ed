"""The few pickle operations that CIFAR's Python archives consist of, read without executing anything.

A pickle is a program. Before it is run, every operation is checked against a short list; and the four
names of numpy that it may mention stand for functions of this module, so no code that the file
chooses is ever called, and no memory is taken that the file's own bytes do not fill.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from linescape.errors import DataError

_OPERATIONS = """
    PROTO FRAME STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE
    BININT BININT1 BININT2 LONG1 BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINUNICODE SHORT_BINUNICODE
    PUT BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET APPEND APPENDS SETITEM SETITEMS GLOBAL STACK_GLOBAL REDUCE
    BUILD
""".split()  # noqa: SIM905 - as many lines as words otherwise
_TYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype("u1"), "i4": np.dtype("<i4"), "i8": np.dtype("<i8")}


def read_pickle(content: bytes, source: str) -> dict[str, Any]:
    """A pickled dictionary of arrays, lists, numbers and text; byte keys become text.

    Args:
        content: the whole pickle, protocol 2 to 4.
        source: what to call it in a message.

    Raises:
        DataError: the pickle asks for anything else, is damaged, or holds no dictionary.
    """
    try:
        _check_operations(content)
        found = _DataOnly(io.BytesIO(content), encoding="bytes").load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; none of its own code has run
        raise DataError(
            f"{source} is not a readable pickle ({error}), so the images in it are not what their authors published. "
            "Download the archive again."
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            f"{source} holds a {type(found).__name__} where CIFAR's files hold a dictionary of data and labels. "
            "Download the archive again."
        )
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): value.values
        if isinstance(value, _Array)
        else value
        for key, value in found.items()
    }


def _check_operations(content: bytes) -> None:
    for count, (operation, argument, position) in enumerate(pickletools.genops(content)):
        if operation.name not in _OPERATIONS:
            _refuse(f"the operation {operation.name} at byte {position}")
        # A memo slot far beyond the operations so far would make the reader allocate all slots before it.
        if operation.name.endswith("PUT") and isinstance(argument, int) and argument > count:
            _refuse(f"the memo slot {argument} at byte {position}")


def _refuse(what: str) -> None:
    raise DataError(
        f"The pickle asks for {what}. Files of CIFAR hold only arrays, lists and text, and nothing from a file is ever "
        "executed. Do not use this file; download the archive from its authors' page."
    )


class _Array:
    """What stands for a numpy array while a pickle is read."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: npt.NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Type, bool, bytes]) -> None:
        _, shape, kind, column_major, raw = state
        self.values = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if column_major else "C")


class _Type:
    """What stands for a numpy data type."""

    __slots__ = ("dtype",)

    def __init__(self, code: bytes | str) -> None:
        name = code.decode("latin1") if isinstance(code, bytes) else code
        if name not in _TYPES:
            _refuse(f"an array of type {name!r}")
        self.dtype: np.dtype[Any] = _TYPES[name]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (b">", ">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Function:
    """A function that a pickle may call, with nothing on it that a pickle could change."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __setstate__(self, state: object) -> None:
        _refuse("a change to one of the reader's functions")


class _DataOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return _Function(lambda *_: _Array())
            case "numpy", "ndarray":
                return None  # only ever an argument of _reconstruct
            case "numpy", "dtype":
                return _Function(lambda code, *_: _Type(code))
            case "_codecs", "encode":
                return _Function(lambda text, _: text.encode("latin1"))
        return _refuse(f"{module}.{name}")
