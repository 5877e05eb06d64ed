"""The pickle inside a torch file, read as data: nothing that it names is imported or called.

A pickle is a program for a small machine that calls functions by name. This is such a machine of its own: it knows the
operations that data consist of, and every name stands for one of a few inert things: an ordered dictionary, a tensor's
description, or for anything else a `Foreign` object that swallows what it is given. So files that hold a training
script's own classes can be read too, without them.

What a file can cost is bounded. `pickle.Unpickler` would take memory and time that no bytes of the file stand for, or
overflow the C stack, for a memo slot far out, a class for each name, or tuples in tuples as a key; `torch.load` with
``weights_only`` refuses such files, and takes whatever memory a file asks for.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import torch

from linescape.checkpoints.formats.inert import Foreign, Name, Storage, UnreadableError, call, fill, named

OPERATIONS = 20_000_000
"""The most that one pickle may hold; each makes an object of about 100 bytes at most. A tensor takes about 40."""

TEXT = 1 << 16
"""Bytes of the longest text or bytes that are read; longer ones are no names, and are passed over."""


class Loaded(NamedTuple):
    """What a pickle holds.

    Attributes:
        content: tensors in it are `Described`, objects of other classes `Foreign`. A dictionary has only the items with
            a plain key, and sets are lists.
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
    machine = _Machine(file)
    try:
        return Loaded(machine.run(), machine.storages, sorted(machine.foreign))
    except UnreadableError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way; none of its own code has run
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


class _Machine:
    """A stack, marks in it, and a memo of what is used again."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.foreign: set[str] = set()

    def run(self) -> Any:
        for _ in range(OPERATIONS):
            code = self.file.read(1)
            if code == b".":
                return self.pop()
            if code not in _DO:
                name = next((op.name for op in pickletools.opcodes if op.code.encode("latin1") == code), repr(code))
                raise UnreadableError(f"it holds the operation {name}" if code else "it is cut short")
            _DO[code](self)
        raise UnreadableError(f"it holds more than {OPERATIONS:,} operations")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnreadableError("it takes more than it has put")
        return self.stack.pop()

    def top(self) -> Any:
        self.push(value := self.pop())
        return value

    def marked(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def number(self, form: str) -> Any:
        (value,) = struct.unpack(form, self.file.read(struct.calcsize(form)))
        return value

    def text(self, length: str, encoding: str | None) -> None:
        count = self.number(length)
        if count > TEXT:
            self.file.seek(count, 1)
            return self.push(Foreign("a long text"))
        read = self.file.read(count)
        return self.push(read.decode(encoding, "surrogatepass") if encoding else read)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnreadableError("it names a function by something that is no name")
        found = named(module, name)
        if isinstance(found, Name) and not found.known:
            self.foreign.add(found.full)
        self.push(found)

    def line(self) -> str:
        read = self.file.readline(1000)
        if not read.endswith(b"\n"):
            raise UnreadableError("it names a function by more than a name")
        return read[:-1].decode()

    def pair(self) -> tuple[Any, Any]:
        second = self.pop()
        return self.pop(), second

    def set_items(self, items: list[Any]) -> None:
        held = self.top()
        if isinstance(held, dict):
            fill(held, zip(items[::2], items[1::2], strict=True))
        elif not isinstance(held, Foreign):
            raise UnreadableError("it sets items of something that has none")

    def make_dictionary(self) -> None:
        items = self.marked()
        self.push({})
        self.set_items(items)

    def make(self) -> None:
        self.pop()  # arguments by name, which only objects of other classes have
        self.push(call(*self.pair()))

    def append(self, items: list[Any]) -> None:
        held = self.top()
        if isinstance(held, list):
            held.extend(items)
        elif not isinstance(held, Foreign):
            raise UnreadableError("it appends to something that is no list")

    def build(self) -> None:
        state = self.pop()
        if isinstance(held := self.top(), Foreign):  # what else has attributes needs none
            held.state = state

    def drop(self) -> None:
        if self.marks and len(self.stack) == self.marks[-1]:
            self.marks.pop()
        else:
            self.pop()

    def refer(self) -> None:
        match self.pop():
            case ("storage", torch.dtype() as dtype, str() | int() as key, str(), int(), *view):
                if view and view[0] is not None:
                    raise UnreadableError("it holds a view of a storage, as PyTorch before 0.4 wrote")
                self.push(self.storages.setdefault(str(key), Storage(dtype, str(key))))
            case _:
                raise UnreadableError("it refers to something outside that is no storage")


_DO: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda at: at.number("<B"),  # PROTO
    b"\x95": lambda at: at.number("<Q"),  # FRAME
    b"(": lambda at: at.marks.append(len(at.stack)),
    b"N": lambda at: at.push(None),
    b"\x88": lambda at: at.push(True),
    b"\x89": lambda at: at.push(False),
    b"J": lambda at: at.push(at.number("<i")),
    b"K": lambda at: at.push(at.number("<B")),
    b"M": lambda at: at.push(at.number("<H")),
    b"\x8a": lambda at: at.push(int.from_bytes(at.file.read(at.number("<B")), "little", signed=True)),
    b"G": lambda at: at.push(at.number(">d")),
    b"U": lambda at: at.text("<B", "latin1"),  # as Python 2 wrote
    b"T": lambda at: at.text("<I", "latin1"),
    b"X": lambda at: at.text("<I", "utf-8"),
    b"\x8c": lambda at: at.text("<B", "utf-8"),
    b"\x8d": lambda at: at.text("<Q", "utf-8"),
    b"C": lambda at: at.text("<B", None),
    b"B": lambda at: at.text("<I", None),
    b"\x8e": lambda at: at.text("<Q", None),
    b"\x96": lambda at: at.text("<Q", None),
    b"]": lambda at: at.push([]),
    b"}": lambda at: at.push({}),
    b")": lambda at: at.push(()),
    b"\x8f": lambda at: at.push([]),
    b"l": lambda at: at.push(at.marked()),
    b"t": lambda at: at.push(tuple(at.marked())),
    b"\x91": lambda at: at.push(at.marked()),
    b"\x85": lambda at: at.push((at.pop(),)),
    b"\x86": lambda at: at.push(at.pair()),
    b"\x87": lambda at: at.push((*reversed((at.pop(), at.pop(), at.pop())),)),
    b"d": lambda at: at.make_dictionary(),
    b"a": lambda at: at.append([at.pop()]),
    b"e": lambda at: at.append(at.marked()),
    b"\x90": lambda at: at.append(at.marked()),
    b"s": lambda at: at.set_items(list(at.pair())),
    b"u": lambda at: at.set_items(at.marked()),
    b"0": lambda at: at.drop(),
    b"1": lambda at: at.marked(),
    b"2": lambda at: at.push(at.top()),
    b"q": lambda at: at.memo.update({at.number("<B"): at.top()}),
    b"r": lambda at: at.memo.update({at.number("<I"): at.top()}),
    b"\x94": lambda at: at.memo.update({len(at.memo): at.top()}),
    b"h": lambda at: at.push(at.memo[at.number("<B")]),
    b"j": lambda at: at.push(at.memo[at.number("<I")]),
    b"c": lambda at: at.name(at.line(), at.line()),
    b"\x93": lambda at: at.name(*at.pair()),
    b"R": lambda at: at.push(call(*at.pair())),
    b"\x81": lambda at: at.push(call(*at.pair())),  # NEWOBJ
    b"\x92": lambda at: at.make(),  # NEWOBJ_EX
    b"b": lambda at: at.build(),
    b"Q": lambda at: at.refer(),
}
"""The operations that pickles of data consist of, by their codes (`pickletools` has their names)."""
