"""The pickle inside a torch file, read as data by `linescape.data.pickles`."""

from __future__ import annotations

from typing import IO, Any, NamedTuple

import torch

from linescape.checkpoints.formats.inert import DTYPES, FUNCTIONS, Ordered, Storage
from linescape.data.pickles import Foreign, Machine, Name, UnreadableError

OPERATIONS = 20_000_000
"""The most in one pickle; a tensor takes about 40."""

TEXT = 1 << 16
"""Bytes of the longest text or bytes that are read; longer ones are no names, and are skipped."""


class Loaded(NamedTuple):
    """The content of a pickle.

    Attributes:
        content: tensors in it are `Described`, objects of other classes `Foreign`, and so are keys of dictionaries that
            are not plain. Sets are lists.
        storages: all storages that it refers to, by key.
        foreign: the names of classes and functions that were not called.
    """

    content: Any
    storages: dict[str, Storage]
    foreign: list[str]


def load(file: IO[bytes]) -> Loaded:
    """Read the next pickle of a file, up to the end of the pickle.

    Raises:
        UnreadableError: it is damaged or no pickle of data.
    """
    machine = _Machine(file)
    return Loaded(machine.run(OPERATIONS), machine.storages, sorted(machine.foreign))


class _Machine(Machine):
    functions = FUNCTIONS
    longest = TEXT

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def named(self, module: str, name: str) -> Any:
        """The dtype of that name, or what any other name stands for."""
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        value = vars(torch).get(name) if module == "torch" else None
        return value if isinstance(value, torch.dtype) else super().named(module, name)

    def build(self) -> None:
        """Keep the attributes of an `Ordered`, as of objects of other classes."""
        state = self.pop()
        if isinstance(target := self.top(), Foreign | Ordered):
            target.state = state

    def refer(self) -> None:
        """Replace a reference to a storage by its description."""
        match self.pop():
            case ("storage", torch.dtype() as dtype, str() | int() as key, str(), int(), *view):
                if view and view[0] is not None:
                    raise UnreadableError("it holds a view of a storage, as PyTorch before 0.4 wrote")
                self.push(self.storages.setdefault(str(key), Storage(dtype, str(key))))
            case ("storage", Name() as kind, *_):  # of a quantised tensor, which is not read
                self.push(Foreign(kind.full))
            case ("module", Name() as kind, *_):  # a class with its source, as PyTorch before 1.6 wrote
                self.push(kind)
            case _:
                raise UnreadableError("it refers to something outside that is no storage")
