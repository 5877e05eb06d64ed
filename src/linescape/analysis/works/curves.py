"""The curves that a work's questions are about, and statistics of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis.tables import Results

_OF_RUN = {
    **dict.fromkeys(("arm", "title"), pl.String),
    "seed": pl.Int64,
    "label": pl.String,
    "value": pl.Float64,
}


def curves(results: Results, data: str, measure: str) -> pl.DataFrame:
    """`Results.lines` of one measure on one data set, without those of runs that diverged."""
    sound = results.runs.filter(pl.col("status") != "diverged").select("arm", "seed")
    lines = results.lines.filter((pl.col("data") == data) & (pl.col("measure") == measure))
    return lines.join(sound, on=["arm", "seed"], how="semi", maintain_order="left")


def of_runs(lines: pl.DataFrame, statistic: Callable[[np.ndarray, np.ndarray], Any]) -> pl.DataFrame:
    """A row for each line of `curves`: arm, title, seed, label, and value, the statistic of alphas and means."""
    rows = [
        dict(zip(_OF_RUN, (*key, float(statistic(line["alpha"].to_numpy(), line["mean"].to_numpy()))), strict=True))
        for key, line in lines.group_by(["arm", "title", "seed", "label"], maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=_OF_RUN)
