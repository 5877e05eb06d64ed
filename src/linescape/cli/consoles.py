"""Where commands write: answers to standard output, everything else to standard error."""

from __future__ import annotations

from cyclopts import Parameter
from rich.console import Console

answer = Console()
aside = Console(stderr=True)

Many = Parameter(consume_multiple=True, negative="")
"""An option that takes several words."""


def tell(text: str) -> None:
    """Write an answer as it is: lines are not broken, so that paths can be copied."""
    answer.print(text, markup=False, highlight=False, soft_wrap=True)


def remark(text: str) -> None:
    """Write as it is what a user should know beside the answer."""
    aside.print(text, markup=False, highlight=False, soft_wrap=True)
