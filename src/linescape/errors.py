"""Every error that linescape raises on purpose, as one tree.

    LinescapeError
    ├── StateError        two networks' tensors do not fit together, or hold NaN
    │   └── MismatchError   their names or shapes differ
    ├── GroupError        a group of tensors matches nothing
    ├── AlphaError        positions on a line are empty, unsorted or not numbers
    ├── DataError         data are empty, unreadable, shuffled, or their labels do not fit
    ├── MeasureError      a network's outputs cannot be measured as asked
    ├── EndsError         a walk does not reproduce the loss of the networks at its ends
    │   └── OverflowedError   as their numbers overflow
    ├── CheckpointError   a file is not a readable checkpoint of this network
    ├── RecipeError       an unknown or impossible model, intervention, study or setting
    ├── StoreError        results cannot be written or read back
    │   └── DamagedError  a result is not what was written: delete it and run again
    └── UnfinishedError   some tasks of a run failed, or some results are damaged; the others are done
        └── UnsoundError  a case with a known answer gives another one on this machine

A message says what was found, why it matters and what to do. The command line prints the
message and exits with code 2, with 3 after `UnfinishedError`, or with 1 after `UnsoundError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from itertools import islice


class LinescapeError(Exception):
    """The root: catch this to catch everything that linescape raises on purpose."""


class StateError(LinescapeError, ValueError):
    """Two networks' tensors do not fit together, or a tensor holds NaN or infinity."""


class MismatchError(StateError):
    """Two networks have tensors of different names or shapes."""


class GroupError(LinescapeError, ValueError):
    """A group of tensors matches nothing in the network."""


class AlphaError(LinescapeError, ValueError):
    """Positions on a line are empty, unsorted, repeated or not finite."""


class DataError(LinescapeError, ValueError):
    """Data are empty, unreadable, change between passes, or have labels out of range."""


class MeasureError(LinescapeError, ValueError):
    """A network's outputs cannot be measured as asked."""


class EndsError(LinescapeError, RuntimeError):
    """A walk does not reproduce the direct evaluation of the networks at its ends."""


class OverflowedError(EndsError):
    """A network's numbers overflow, so that the order of its operations decides what it gives."""


class CheckpointError(LinescapeError, ValueError):
    """A file is not a readable checkpoint of this network."""


class RecipeError(LinescapeError, ValueError):
    """A model, data set, intervention, study or setting is unknown or impossible."""


class StoreError(LinescapeError, OSError):
    """Results cannot be written, or what was read back is not what was written."""


class DamagedError(StoreError):
    """One result on disk is not what was written; the others are whole."""


class UnfinishedError(LinescapeError, RuntimeError):
    """Some tasks of a run failed, or some results are damaged; the others are done.

    Attributes:
        result: what the command found, in JSON's types; None if it is only the message.
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class UnsoundError(UnfinishedError):
    """Cases with known answers give others on this machine, so nothing that is measured on it can be trusted."""


def check_type(value: object, kinds: type | tuple[type, ...], what: str, give: str) -> None:
    """Raise `RecipeError` if an argument is of another type. A truth value is no number here, as it is in Python.

    Args:
        value: the argument.
        kinds: the types that it may have.
        what: what it is, as the message begins.
        give: a sentence that says what to pass instead.
    """
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise RecipeError(f"{what} is a {type(value).__name__}. {give}")


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known ones, or all of a few."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(n) for n in close) + "?"
    shown = ", ".join(repr(n) for n in names[:12])
    return f"Known: {shown}{', ...' if len(names) > 12 else ''}."


def printable(text: str) -> str:
    """A text in which what would steer a terminal, or cannot be encoded, is shown by its code, as in ``\\x1b``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def abbreviate(names: Collection[str], most: int = 5) -> str:
    """The first of some names, and how many more there are; short, and nothing that would steer a terminal."""
    shown = (name if name.isprintable() else ascii(name) for name in (name[:200] for name in islice(names, most)))
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def plural(count: int, noun: str) -> str:
    """A count and its noun: 1 run, 2 runs."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def first_line(error: BaseException) -> str:
    """What another library's error says in its first line, or else its kind."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
