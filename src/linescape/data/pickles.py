"""Reads pickles as data: nothing that they name is imported or called.

A pickle is a program for a small machine that calls functions by name. This is such a machine: it knows the operations
that data consist of. It replaces the few names that a format needs by functions of this package; everything else
becomes a `Foreign` object, which keeps only its state. So files that hold a training script's own classes can be read
without them. The functions of each format are in `linescape.checkpoints.formats.inert` (torch) and
`linescape.data.archives.cifar` (CIFAR).

Memory and time are bounded by the size of the file. `pickle.Unpickler` can take any amount of both, or overflow the C
stack, for a memo slot far out, a class for each name, or tuples in tuples as a key; `torch.load` with
``weights_only`` refuses such files, and takes whatever memory a file asks for.
"""

# ruff: noqa: D102 - most methods are operations, which pickletools describes

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any, ClassVar, NamedTuple

_NAME = 2000
"""Characters of the longest name; a few bytes of a pickle can name it again and again, and each takes its memory."""


class UnreadableError(Exception):
    """The pickle is damaged, or contains what pickles of data do not contain."""


@dataclass(slots=True, eq=False, repr=False)
class Foreign:
    """The description of an object that is not constructed.

    Attributes:
        kind: the name of the class, or of the function that would have made it.
        state: its attributes, where the pickle sets them.
    """

    kind: str
    state: Any = None

    def __str__(self) -> str:
        return self.kind


class Name(NamedTuple):
    """A class or function that a pickle names."""

    full: str


def fill(dictionary: dict[Any, Any], items: Iterable[Any]) -> None:
    """Set items; a key that is not cheap to hash, to tell apart and to print is replaced by a description of its type.

    Nested tuples as keys can cost exponential time, and integers of more than 64 bits quadratic time, as any number of
    them have one hash.
    """
    dictionary.update((key if _is_cheap(key) else Foreign(f"a {type(key).__name__}"), value) for key, value in items)


def _is_cheap(key: object) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= 64
    return key is None or isinstance(key, str | float | Foreign)


def call(what: Any, arguments: Any, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The result of a call in a pickle: that of one of the functions, or a `Foreign` object.

    Raises:
        UnreadableError: it is no call.
    """
    if not isinstance(arguments, tuple):
        raise UnreadableError("it calls a function with something that is no tuple")
    if isinstance(what, Foreign):
        return Foreign(what.kind)
    if not isinstance(what, Name):
        raise UnreadableError("it calls something that is no function")
    return functions[what.full](*arguments) if what.full in functions else Foreign(what.full)


class Machine:
    """Executes a pickle: a stack, marks in it, and a memo of objects that are used again.

    Attributes:
        functions: names in a pickle -> the functions that replace them.
        longest: length in bytes of the longest text that is read; longer ones are skipped.
        refused: codes of operations that the format does not use.
        foreign: the names in the pickle that are not in `functions`.
    """

    functions: ClassVar[Mapping[str, Callable[..., Any]]]
    longest: ClassVar[int]
    refused: ClassVar[bytes] = b""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.foreign: set[str] = set()

    def run(self, most: int) -> Any:
        """The content of the next pickle of the file, which is read up to the end of the pickle.

        Sets are lists, and keys of dictionaries that are not plain are `Foreign`.

        Args:
            most: operations that the pickle may hold; each makes an object of about 100 bytes at most.

        Raises:
            UnreadableError: it is damaged or no pickle of data.
        """
        try:
            for _ in range(most):
                code = self.file.read(1)
                if code == b".":
                    return self.pop()
                if code not in OPERATIONS or code in self.refused:
                    name = next((op.name for op in pickletools.opcodes if op.code.encode("latin1") == code), repr(code))
                    raise UnreadableError(f"it holds the operation {name}" if code else "it is cut short")
                OPERATIONS[code](self)
        except UnreadableError:
            raise
        except Exception as error:  # a damaged pickle can fail in any way; none of its own code has run
            raise UnreadableError(f"{type(error).__name__}: {error}") from error
        raise UnreadableError(f"it holds more than {most:,} operations")

    def named(self, module: str, name: str) -> Any:
        """The object that a name in the pickle stands for."""
        full = f"{module}.{name}"
        if full not in self.functions:
            self.foreign.add(full)
        return Name(full)

    def refer(self) -> None:
        """Replace a reference to an object outside of the pickle by that object."""
        raise UnreadableError("it refers to something outside")

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
        if count > self.longest:
            self.file.seek(count, 1)
            return self.push(Foreign("a long text"))
        read = self.file.read(count)
        return self.push(read.decode(encoding, "surrogatepass") if encoding else read)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > _NAME:
            raise UnreadableError("it names a function by something that is no name")
        self.push(self.named(module, name))

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

    def call(self) -> None:
        self.push(call(*self.pair(), self.functions))

    def call_with_keywords(self) -> None:
        self.pop()  # arguments by name, which only objects of other classes have
        self.call()

    def append(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Foreign):
            raise UnreadableError("it appends to something that is no list")

    def build(self) -> None:
        state = self.pop()
        if isinstance(target := self.top(), Foreign):  # what else has attributes needs none
            target.state = state

    def drop(self) -> None:
        if self.marks and len(self.stack) == self.marks[-1]:
            self.marks.pop()
        else:
            self.pop()


OPERATIONS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m.number("<B"),  # PROTO
    b"\x95": lambda m: m.number("<Q"),  # FRAME
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.file.read(m.number("<B")), "little", signed=True)),
    b"G": lambda m: m.push(m.number(">d")),
    b"U": lambda m: m.text("<B", "latin1"),  # as Python 2 wrote
    b"T": lambda m: m.text("<I", "latin1"),
    b"X": lambda m: m.text("<I", "utf-8"),
    b"\x8c": lambda m: m.text("<B", "utf-8"),
    b"\x8d": lambda m: m.text("<Q", "utf-8"),
    b"C": lambda m: m.text("<B", None),
    b"B": lambda m: m.text("<I", None),
    b"\x8e": lambda m: m.text("<Q", None),
    b"\x96": lambda m: m.text("<Q", None),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push([]),
    b"l": lambda m: m.push(m.marked()),
    b"t": lambda m: m.push(tuple(m.marked())),
    b"\x91": lambda m: m.push(m.marked()),
    b"\x85": lambda m: m.push((m.pop(),)),
    b"\x86": lambda m: m.push(m.pair()),
    b"\x87": lambda m: m.push((*reversed((m.pop(), m.pop(), m.pop())),)),
    b"d": lambda m: m.make_dictionary(),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.marked()),
    b"\x90": lambda m: m.append(m.marked()),
    b"s": lambda m: m.set_items(list(m.pair())),
    b"u": lambda m: m.set_items(m.marked()),
    b"0": lambda m: m.drop(),
    b"1": lambda m: m.marked(),
    b"2": lambda m: m.push(m.top()),
    b"q": lambda m: m.memo.update({m.number("<B"): m.top()}),
    b"r": lambda m: m.memo.update({m.number("<I"): m.top()}),
    b"\x94": lambda m: m.memo.update({len(m.memo): m.top()}),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": lambda m: m.name(*m.pair()),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.call(),  # NEWOBJ
    b"\x92": lambda m: m.call_with_keywords(),  # NEWOBJ_EX
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.refer(),
}
"""The operations that pickles of data consist of, by their codes (`pickletools` has their names)."""
