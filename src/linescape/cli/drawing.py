"""A curve drawn with characters, for terminals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of Braille's dots, by row and column of a character."""


def drawn(alphas: NDArray[np.float64], means: NDArray[np.float64], title: str, width: int, braille: bool) -> str:
    """A curve over alpha, from 0 to its largest value: straight between positions, with gaps where it is not finite.

    Args:
        alphas: positions ``(n,)``, rising.
        means: the curve ``(n,)``.
        title: stands above it.
        width: characters in a line, at most.
        braille: draw with the dots of Braille, which are finer than stars, where the terminal has them.
    """
    finite = np.isfinite(means)
    if not finite.any():
        return f"{title}: nowhere finite"
    high, low = max(float(means[finite].max()), 0.0), min(float(means[finite].min()), 0.0)
    marks = [f"{high:.3g}", f"{low:.3g}"]
    margin = max(map(len, marks))
    columns, rows = max(10, min(width, 80) - margin - 2), 8
    across, down = (2, 4) if braille else (1, 1)
    cells = np.zeros((rows, columns), int)
    x = np.linspace(alphas[0], alphas[-1], columns * across)
    y = np.interp(x, alphas, np.where(finite, means, math.nan))
    last = None
    for column, value in enumerate(y):
        if not math.isfinite(value):
            last = None
            continue
        level = round((high - value) / ((high - low) or 1.0) * (rows * down - 1))
        for between in range(
            min(level, level if last is None else last), max(level, level if last is None else last) + 1
        ):
            cells[between // down, column // across] |= _DOTS[between % down][column % across] if braille else 1
        last = level
    lines = [
        "".join(chr(0x2800 + cell) if braille else " *"[cell] for cell in row).rstrip(chr(0x2800) + " ")
        for row in cells
    ]
    labels = [marks[0], *[""] * (rows - 2), marks[1]]
    edges = f"{alphas[0]:g}".ljust(columns // 2) + "alpha" + f"{alphas[-1]:g}".rjust(columns - columns // 2 - 5)
    return "\n".join(
        [
            title,
            *(f"{label:>{margin}} |{line}" for label, line in zip(labels, lines, strict=True)),
            " " * (margin + 2) + edges,
        ]
    )
