"""Statistics of layer-wise lines: loss increase when a block is set back, hump, minimum below the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis import inference
from linescape.errors import MeasureError
from linescape.interpolation.curve import Curve
from linescape.shape import Statistic, estimates, hump, peak, start_above_end, tail_rise
from linescape.studies.study import Run

LAYERWISE: Mapping[str, Statistic] = {"start_above_end": start_above_end, "hump": hump, "tail_rise": tail_rise}
"""The statistics of a layer-wise line on test data: of the loss in nats, of the error in percentage points."""

ROW: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(("arm", "group", "title"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("block", "measure", "number"), pl.String),
    **dict.fromkeys(("value", "low", "high", "alpha"), pl.Float64),
}

_MEASURES = ("cross_entropy", "error")


def of_run(run: Run, curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """A row for each of `LAYERWISE` of the line of each block: block, measure, number, value, low, high, alpha.

    Intervals: 95 %, paired bootstrap over the test examples measured. alpha is the position of the hump's top or of the
    lowest point of the line, NaN without a hump; 0 for the loss increase at the start. ``whole`` is the line of
    the whole network, for comparison.
    """
    rows: list[dict[str, Any]] = []
    for label, curve in curves.items():
        scan = run.lines[label]
        if scan.rest != "end":
            continue
        for measure in _MEASURES:
            try:
                series = curve["test", measure, scan.batchnorm[0]]
            except MeasureError:
                continue
            positions = _positions(series.alphas, series.mean)
            for name, estimate in estimates(series.alphas, series.values, LAYERWISE).items():
                row = {"block": scan.block or "whole", "measure": measure, "number": name, "alpha": positions[name]}
                rows.append(row | {"value": estimate.value, "low": estimate.low, "high": estimate.high})
    return rows


def _positions(alphas: np.ndarray, mean: np.ndarray) -> dict[str, float]:
    """Positions of the statistics: the start, the top of the hump, the lowest point."""
    top, lowest = math.nan, math.nan
    if not np.isnan(mean).any():
        lowest = float(alphas[int(np.argmin(mean))])
        if hump(alphas, mean) > 0:
            top = float(peak(alphas, mean))
    return {"start_above_end": 0.0, "hump": top, "tail_rise": lowest}


def blocks(layers: pl.DataFrame, level: float = 0.95) -> pl.DataFrame:
    """A row for each arm, block and statistic: its mean over runs.

    Args:
        layers: `Results.layers`.
        level: confidence level of the intervals.

    Returns:
        arm, group, title, block, measure, number, runs, mean, low, high (t interval over runs; NaN for a single run or
        equal values), lowest, highest (of the runs), clear (runs whose own interval over examples lies above 0), alpha
        (mean position over runs; null where no run has one).
    """
    rows = []
    keys = ["arm", "group", "title", "block", "measure", "number"]
    for key, of_key in layers.group_by(keys, maintain_order=True):
        values = of_key["value"].to_numpy()
        mean = inference.mean(values, level)
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"runs": len(values), "mean": mean.value, "low": mean.low, "high": mean.high}
            | {"lowest": float(values.min()), "highest": float(values.max())}
            | {"clear": int((of_key["low"].to_numpy() > 0).sum()), "alpha": of_key["alpha"].drop_nans().mean()}
        )
    kinds = {name: kind for name, kind in ROW.items() if name in keys}
    numbers = dict.fromkeys(("mean", "low", "high", "lowest", "highest"), pl.Float64)
    return pl.DataFrame(rows, {**kinds, "runs": pl.Int64, **numbers, "clear": pl.Int64, "alpha": pl.Float64})
