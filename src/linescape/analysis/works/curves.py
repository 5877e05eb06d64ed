"""The curves that a work's questions are about, statistics of each, and intervals of shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis.tables import Results
from linescape.studies.study import Run, Scan

_OF_RUN: dict[str, Any] = {
    **dict.fromkeys(("arm", "title"), pl.String),
    "seed": pl.Int64,
    "label": pl.String,
    "value": pl.Float64,
}
_LINE = ["arm", "seed", "label"]


Named = Callable[[Run, Scan], Mapping[str, Any] | None]
"""What is known of a line of a run; None leaves the line out."""


def curves_of(
    results: Results,
    data: str,
    measure: str | None = None,
    named: Named | None = None,
    treatment: int = 0,
) -> pl.DataFrame:
    """`Results.lines` on one half of the data, of runs that did not diverge, between trainings that did not.

    Args:
        results: of the study.
        data: ``train`` or ``test``.
        measure: ``error`` or ``cross_entropy``; all if None.
        named: what is known of a line, as further columns.
        treatment: which of a line's own treatments of BatchNorm, the first unless something else is said; lines that
            have no so many are left out.
    """
    own = pl.col("batchnorm").unique(maintain_order=True).get(treatment, null_on_oob=True).over(*_LINE)
    shown = results.lines.filter((pl.col("batchnorm") == own) & (pl.col("data") == data))
    if measure:
        shown = shown.filter(pl.col("measure") == measure)
    sound = results.runs.filter(pl.col("status") != "diverged").select("arm", "seed")
    shown = shown.join(sound, on=["arm", "seed"], how="semi", maintain_order="left")
    lost = pl.DataFrame(list(results.of_diverged), {name: _OF_RUN[name] for name in _LINE}, orient="row")
    shown = shown.join(lost, on=_LINE, how="anti", maintain_order="left")
    if named is None:
        return shown
    rows = [
        dict(zip(_LINE, (arm.name, run.seed, label), strict=True)) | dict(facts)
        for arm in results.study.arms
        for run in arm.runs
        for label, scan in run.lines.items()
        if (facts := named(run, scan)) is not None
    ]
    keys = {name: _OF_RUN[name] for name in _LINE}
    known = pl.DataFrame(rows, schema_overrides=keys) if rows else pl.DataFrame(schema=keys)
    return shown.join(known, on=_LINE, how="inner", maintain_order="left")


def of_runs(lines: pl.DataFrame, statistic: Callable[[np.ndarray, np.ndarray], Any]) -> pl.DataFrame:
    """A row for each line of `curves_of`: arm, title, seed, label, and value, the statistic of alphas and means."""
    rows = [
        dict(zip(_OF_RUN, (*key, float(statistic(line["alpha"].to_numpy(), line["mean"].to_numpy()))), strict=True))
        for key, line in lines.group_by(["arm", "title", "seed", "label"], maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=_OF_RUN)


def undefined(values: pl.Series) -> int:
    """How many of the values of `of_runs` are NaN: of lines with a NaN on them, which count as not monotone."""
    return int(values.is_nan().sum())


def share(count: int, of: int, level: float) -> dict[str, float]:
    """Clopper and Pearson's interval of a share of independent runs, in %: share_low and share_high."""
    from scipy import stats

    interval = stats.binomtest(count, of).proportion_ci(level, method="exact")
    return {"share_low": 100 * float(interval.low), "share_high": 100 * float(interval.high)}
