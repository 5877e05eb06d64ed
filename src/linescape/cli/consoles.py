"""Where commands write: results to standard output, everything else to standard error."""

from __future__ import annotations

from cyclopts import Parameter
from rich.console import Console

stdout = Console()
stderr = Console(stderr=True)

Many = Parameter(consume_multiple=True, negative="")
"""An option that takes several values."""


def echo(text: str) -> None:
    """Write a result verbatim to standard output; lines are not wrapped, so that paths can be copied."""
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)


def echo_err(text: str) -> None:
    """Write a note or a warning verbatim to standard error."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)
