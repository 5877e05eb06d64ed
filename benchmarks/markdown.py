"""Tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def rows_of(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The lines of a table."""
    titles = list(head)
    yield "| " + " | ".join(map(str, titles)) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
