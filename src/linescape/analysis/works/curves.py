"""The curves that a work's questions are about, statistics of each, and intervals of shares."""

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


def curves_of(results: Results, data: str, measure: str) -> pl.DataFrame:
    """`Results.lines` of one measure on one data set, of sound runs, under the first treatment of each line."""
    sound = results.runs.filter(pl.col("status") != "diverged").select("arm", "seed")
    first = pl.col("batchnorm").first().over("arm", "seed", "label")
    of_first = results.lines.filter(pl.col("batchnorm") == first)
    lines = of_first.filter((pl.col("data") == data) & (pl.col("measure") == measure))
    return lines.join(sound, on=["arm", "seed"], how="semi", maintain_order="left")


def of_runs(lines: pl.DataFrame, statistic: Callable[[np.ndarray, np.ndarray], Any]) -> pl.DataFrame:
    """A row for each line of `curves_of`: arm, title, seed, label, and value, the statistic of alphas and means."""
    rows = [
        dict(zip(_OF_RUN, (*key, float(statistic(line["alpha"].to_numpy(), line["mean"].to_numpy()))), strict=True))
        for key, line in lines.group_by(["arm", "title", "seed", "label"], maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=_OF_RUN)


def share(count: int, of: int, level: float) -> dict[str, float]:
    """Clopper and Pearson's interval of a share of independent runs, in %: share_low and share_high."""
    from scipy import stats

    interval = stats.binomtest(count, of).proportion_ci(level, method="exact")
    return {"share_low": 100 * float(interval.low), "share_high": 100 * float(interval.high)}
