"""Where commands write: results to standard output, everything else to standard error.

What is written is text: names of tensors, files and patterns may hold what would be markup, steer a terminal, or lie
outside the console's encoding.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Any, TextIO

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from linescape.errors import StoreError, printable


class _Plain(Console):
    """A console that takes every string as text, and shows characters that cannot be printed by their codes."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As `Console.print`.

        Raises:
            BrokenPipeError: nobody reads it any more.
            StoreError: it cannot be written, as where a disk is full.
        """
        try:
            super().print(*objects, **options)
        except OSError as error:
            discard(sys.stderr if self.stderr else sys.stdout)
            if isinstance(error, BrokenPipeError):
                raise
            raise StoreError(f"What is printed could not be written: {error.strerror or error}.") from error

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def discard(stream: TextIO) -> None:
    """Let go of what could not be written to a stream, or Python would try it again at its end, and say so."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def prepare() -> None:
    """Make standard streams take any text: what their encoding lacks is escaped, and one that is closed takes all.

    A closed one is opened: its number would go to the next file that is opened, and whatever prints would write there.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif name != "stdin" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


stdout = _Plain()
stderr = _Plain(stderr=True)

Many = Parameter(consume_multiple=True, negative="")
"""An option that takes several values."""


def echo(text: str) -> None:
    """Write a result to standard output; lines are not wrapped, so that paths can be copied."""
    stdout.print(text, soft_wrap=True)


def echo_err(text: str) -> None:
    """Write a note or a warning to standard error."""
    stderr.print(text, soft_wrap=True)
