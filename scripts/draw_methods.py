"""Draws the pictures of the method cards into docs/figures/methods: `python -m scripts.draw_methods [NAME ...]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import torch

from linescape.report.figures.panel import STYLE
from scripts.method_pictures import of_curves, of_distances, of_interventions

FOLDER = Path(__file__).parents[1] / "docs" / "figures" / "methods"


def main(names: Sequence[str] = (), folder: Path = FOLDER) -> None:
    """Train, measure and draw: all pictures, or those of these names. About a minute."""
    torch.set_num_threads(1)  # the layers are small
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for part in (of_curves, of_distances, of_interventions):
            for name, picture in part.pictures().items():
                if not names or name in names:
                    picture.write(folder / f"{name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
