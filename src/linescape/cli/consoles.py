"""Where commands write: results to standard output, everything else to standard error.

What is written is text: names of tensors, files and patterns may hold what would be markup, steer a terminal, or lie
outside the console's encoding.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
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
            discard(self.file)
            if isinstance(error, BrokenPipeError):
                raise
            raise StoreError(f"What is printed could not be written: {error.strerror or error}.") from error

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def discard(stream: IO[str]) -> None:
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

_WIDEST = 10_000
"""Columns of a terminal that no table needs."""

Many = Parameter(consume_multiple=True, negative="")
"""An option that takes several values."""

Out = Annotated[Path, Parameter(name=("--out", "-o"))]
"""The option that says where a result is written."""


def echo(text: str) -> None:
    """Write a result to standard output; lines are not wrapped, so that paths can be copied."""
    stdout.print(text, soft_wrap=True)


def echo_err(text: str) -> None:
    """Write a note or a warning to standard error."""
    stderr.print(text, soft_wrap=True)


def show(table: Table, console: Console = stdout) -> None:
    """Write a table of texts, wider than the terminal where columns with `no_wrap` need it."""
    for column in table.columns:
        if column.no_wrap:
            lines = (line for cell in (column.header, *column.cells) for line in str(cell).split("\n"))
            column.min_width = max(map(cell_len, lines))
    needed = Measurement.get(console, console.options.update(width=_WIDEST), table).minimum
    table.width = needed if needed > console.width else None
    console.print(table, crop=False)


@contextmanager
def redirected(to_json: bool, quiet: bool) -> Iterator[None]:
    """Within it, only results go to standard output; what the user's own code prints goes to standard error.

    Args:
        to_json: leave out the results too, since `write_json` writes them.
        quiet: leave out what goes to standard error.
    """
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(redirect_stderr(stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
        stdout.file, stdout.quiet = sys.stdout, to_json
        stack.callback(lambda: vars(stdout).update(_file=None, quiet=False))
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def write_json(result: object) -> None:
    """Write a result to standard output as JSON: paths as texts, and null for what is not finite."""
    finite = json.loads(json.dumps(result, default=str), parse_constant=lambda _: None)
    stdout.print(json.dumps(finite, indent=2), soft_wrap=True)
