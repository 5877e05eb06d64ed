"""How numbers and titles are written in answers and reports."""

from __future__ import annotations

import math


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """A number with a true minus sign, and commas between thousands; "undefined" for NaN, ∞ for infinity."""
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    return (text.lstrip("-+") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def capitalise(words: str) -> str:
    """The words with a capital letter at the beginning."""
    return words[:1].upper() + words[1:]
