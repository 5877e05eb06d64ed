"""Numbers, intervals and sentences as plain text.

Sentences are Jinja templates, ``templates/*.txt``: no markup, so that the same sentence serves a page (which escapes
it), a file and a terminal. White space in them means nothing; ¶ begins a new paragraph.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from linescape.errors import StoreError, plural, printable


def sentence(template: str, name: str, **values: object) -> str:
    """The macro `name` of ``templates/<template>.txt``, called with `values`."""
    return _tidy(str(getattr(_environment().get_template(f"{template}.txt").module, name)(**values)))


def caption(name: str, **values: object) -> str:
    """A caption or single sentence of ``templates/captions.txt``."""
    return sentence("captions", name, **values)


def sections(template: str, values: Mapping[str, object]) -> dict[str, str]:
    """What ``templates/<template>.txt`` assigns with ``{% set name %}`` when `values` are its variables, by name."""
    module = _environment().get_template(f"{template}.txt").make_module(dict(values))
    return {name: _tidy(str(text)) for name, text in vars(module).items() if isinstance(text, str) and name[0] != "_"}


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A number with a true minus sign; – for null, words for NaN, ∞."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return (text.lstrip("+-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def legible(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """As `number`, but what is not 0 is not shown as 0: with one digit that counts, and its sign.

    For sentences: 0.004 (0.001 to 0.007) excludes 0, which 0.00 (0.00 to 0.00) would hide. Up to 1e-9 is rounding.
    """
    if value is not None and 1e-9 < abs(value) < 0.5 * 10.0**-digits:
        digits = -int(f"{value:.0e}".partition("e")[2])
    return number(value, digits, signed)


def interval(row: Mapping[str, Any], low: str = "low", high: str = "high", digits: int = 2) -> str:
    """An interval as ``a to b``; ``no interval`` for NaN.

    Args:
        row: the estimate.
        low: column of the lower end.
        high: column of the upper end.
        digits: after the decimal point.
    """
    if math.isnan(row[low]):
        return "no interval"
    return f"{legible(row[low], digits)} to {legible(row[high], digits)}"


def with_article(name: str) -> str:
    """A name after the article that its sound asks for: an MLP, a ResNet."""
    spelled = name.split("-")[0].isupper() and name[:1] in "AEFHILMNORSX"
    return f"{'an' if spelled or name[:1] in tuple('AEIOaeio') else 'a'} {name}"


def listed(words: Sequence[str], most: int = 3) -> str:
    """The first few words, and how many more there are."""
    return "; ".join(words[:most]) + (f"; and {len(words) - most} more" if len(words) > most else "")


def plain(content: Any) -> Any:
    """Lists and dictionaries with all that cannot be printed or encoded shown by its code, as `printable` does.

    Raises:
        StoreError: two names in a dictionary would become the same.
    """
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, list | tuple):
        return type(content)(map(plain, content))
    if not isinstance(content, Mapping):
        return content
    shown = {plain(name): plain(value) for name, value in content.items()}
    if len(shown) < len(content):
        raise StoreError("Two names differ only in characters that cannot be printed. Rename one of them.")
    return shown


def capital(words: str) -> str:
    """Words with a capital first letter."""
    return words[:1].upper() + words[1:]


def _tidy(text: str) -> str:
    """Single spaces, none before punctuation or after a bracket, a line for each paragraph that is not empty."""
    paragraphs = (re.sub(r"\s+(?=[.,;:)])|(?<=\()\s+", "", " ".join(part.split())) for part in text.split("¶"))
    return "\n".join(filter(None, paragraphs))


@cache
def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("linescape.report"), autoescape=False, undefined=StrictUndefined)  # noqa: S701
    environment.filters |= {
        "capital": capital,
        "with_article": with_article,
        "interval": interval,
        "listed": listed,
        "number": legible,
        "plural": plural,
    }
    return environment
