"""The pickle inside a torch file, read as data: nothing that it names is imported or called.

A pickle is a program for a small stack machine that calls functions by name. This is a separate machine of that kind:
it has only the operations that data consist of, and every name stands for one of a few inert things: an ordered
dictionary, a tensor's description, or for anything else a `Foreign` object that ignores its arguments. So files with
the classes of a training script can be read too, without those classes.

What a file can cost is bounded. `pickle.Unpickler` would use far more memory and time than the file has bytes, or
overflow the C stack, for a very high memo index, a class for each name, or nested tuples as a key; `torch.load` with
``weights_only`` refuses such files, but allocates whatever memory a file asks for.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import torch

from linescape.checkpoints.formats.inert import Foreign, Name, Storage, UnreadableError, call, fill, named

OPERATIONS = 20_000_000
"""The most in one pickle; each makes an object of about 100 bytes at most. A tensor takes about 40."""

TEXT = 1 << 16
"""Bytes of the longest text or bytes that are read; longer ones are no names, and are skipped."""


class Loaded(NamedTuple):
    """The contents of a pickle.

    Attributes:
        content: tensors in it are `Described`, objects of other classes `Foreign`. A dictionary has only the items with
            a plain key, and sets are lists.
        storages: all that are mentioned, by key.
        foreign: the names of classes and functions that were not called.
    """

    content: Any
    storages: dict[str, Storage]
    foreign: list[str]


def load(file: IO[bytes]) -> Loaded:
    """The next pickle of a file, whose position is after it afterwards.

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
    """A stack, marks in it, and a memo of objects that are used again."""

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
        meaning = named(module, name)
        if isinstance(meaning, Name) and not meaning.known:
            self.foreign.add(meaning.full)
        self.push(meaning)

    def line(self) -> str:
        read = self.file.readline(1000)
        if not read.endswith(b"\n"):
            raise UnreadableError("it names a function by more than a name")
        return read[:-1].decode()

    def pair(self) -> tuple[Any, Any]:
        second = self.pop()
        return self.pop(), second

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, dict):
            fill(target, zip(items[::2], items[1::2], strict=True))
        elif not isinstance(target, Foreign):
            raise UnreadableError("it sets items of something that has none")

    def make_dictionary(self) -> None:
        items = self.marked()
        self.push({})
        self.set_items(items)

    def make(self) -> None:
        self.pop()  # arguments by name, which only objects of other classes have
        self.push(call(*self.pair()))

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Foreign):
            raise UnreadableError("it appends to something that is no list")

    def build(self) -> None:
        state = self.pop()
        if isinstance(target := self.top(), Foreign):  # nothing else needs its attributes
            target.state = state

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
    b"\x80": lambda machine: machine.number("<B"),  # PROTO
    b"\x95": lambda machine: machine.number("<Q"),  # FRAME
    b"(": lambda machine: machine.marks.append(len(machine.stack)),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"J": lambda machine: machine.push(machine.number("<i")),
    b"K": lambda machine: machine.push(machine.number("<B")),
    b"M": lambda machine: machine.push(machine.number("<H")),
    b"\x8a": lambda machine: machine.push(
        int.from_bytes(machine.file.read(machine.number("<B")), "little", signed=True)
    ),
    b"G": lambda machine: machine.push(machine.number(">d")),
    b"U": lambda machine: machine.text("<B", "latin1"),  # as Python 2 wrote
    b"T": lambda machine: machine.text("<I", "latin1"),
    b"X": lambda machine: machine.text("<I", "utf-8"),
    b"\x8c": lambda machine: machine.text("<B", "utf-8"),
    b"\x8d": lambda machine: machine.text("<Q", "utf-8"),
    b"C": lambda machine: machine.text("<B", None),
    b"B": lambda machine: machine.text("<I", None),
    b"\x8e": lambda machine: machine.text("<Q", None),
    b"\x96": lambda machine: machine.text("<Q", None),
    b"]": lambda machine: machine.push([]),
    b"}": lambda machine: machine.push({}),
    b")": lambda machine: machine.push(()),
    b"\x8f": lambda machine: machine.push([]),
    b"l": lambda machine: machine.push(machine.marked()),
    b"t": lambda machine: machine.push(tuple(machine.marked())),
    b"\x91": lambda machine: machine.push(machine.marked()),
    b"\x85": lambda machine: machine.push((machine.pop(),)),
    b"\x86": lambda machine: machine.push(machine.pair()),
    b"\x87": lambda machine: machine.push((*reversed((machine.pop(), machine.pop(), machine.pop())),)),
    b"d": lambda machine: machine.make_dictionary(),
    b"a": lambda machine: machine.append([machine.pop()]),
    b"e": lambda machine: machine.append(machine.marked()),
    b"\x90": lambda machine: machine.append(machine.marked()),
    b"s": lambda machine: machine.set_items(list(machine.pair())),
    b"u": lambda machine: machine.set_items(machine.marked()),
    b"0": lambda machine: machine.drop(),
    b"1": lambda machine: machine.marked(),
    b"2": lambda machine: machine.push(machine.top()),
    b"q": lambda machine: machine.memo.update({machine.number("<B"): machine.top()}),
    b"r": lambda machine: machine.memo.update({machine.number("<I"): machine.top()}),
    b"\x94": lambda machine: machine.memo.update({len(machine.memo): machine.top()}),
    b"h": lambda machine: machine.push(machine.memo[machine.number("<B")]),
    b"j": lambda machine: machine.push(machine.memo[machine.number("<I")]),
    b"c": lambda machine: machine.name(machine.line(), machine.line()),
    b"\x93": lambda machine: machine.name(*machine.pair()),
    b"R": lambda machine: machine.push(call(*machine.pair())),
    b"\x81": lambda machine: machine.push(call(*machine.pair())),  # NEWOBJ
    b"\x92": lambda machine: machine.make(),  # NEWOBJ_EX
    b"b": lambda machine: machine.build(),
    b"Q": lambda machine: machine.refer(),
}
"""The operations that pickles of data consist of, by their codes (`pickletools` has their names)."""
