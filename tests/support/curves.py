"""Curves that tests of shape draw at random, and their grids."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.float64]
GRID = np.linspace(0, 1, 50)


@st.composite
def grids(draw: st.DrawFn, least: int = 3) -> Array:
    inner = draw(st.sets(st.integers(1, 99), min_size=least - 2, max_size=10))
    return np.array(sorted({0, 100} | inner)) / 100


@st.composite
def curves(draw: st.DrawFn) -> tuple[Array, Array]:
    """An unequal grid and losses with many ties; sums and differences of eighths are exact."""
    alphas = draw(grids())
    eighths = draw(st.lists(st.integers(-40, 40), min_size=alphas.size, max_size=alphas.size))
    return alphas, np.array(eighths) / 8
