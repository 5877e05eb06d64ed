"""Published results next to measured ones: accuracies, ranges over runs, and points of lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from linescape import shape
from linescape.analysis.tables.arms import accuracy
from linescape.analysis.tables.results import Results
from linescape.shape.definitions import DEFINITIONS
from linescape.studies.study import Arm
from linescape.studies.vlaar2022 import published
from linescape.studies.vlaar2022.published import ACCURACIES, LINES, RANGES

_SETTING: dict[str, type[pl.DataType]] = dict.fromkeys(("setting", "differs", "how"), pl.String)
_ACCURACY: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "title"), pl.String),
    **dict.fromkeys(("published", "spread"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("mean", "low", "high", "difference"), pl.Float64),
    **_SETTING,
}
_RANGE: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "title", "line", "quantity", "label"), pl.String),
    **dict.fromkeys(("published_low", "published_high"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("low", "high"), pl.Float64),
    **_SETTING,
}
_POINT: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "title", "label"), pl.String),
    **dict.fromkeys(("alpha", "loss"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("measured", "difference", "rmse", "largest_gap"), pl.Float64),
    **_SETTING,
}
_ENDS = {"start": "loss at the start", "highest": "highest loss", "end": "loss at the end", "loss": "loss"}
"""Labels of the quantities of `published.Range` that are not statistics of `linescape.shape`."""


def published_accuracies(results: Results, level: float = 0.95) -> pl.DataFrame:
    """A row for each arm with a published test accuracy, in %.

    Columns: arm, title, published, spread (what is printed after ±), n, mean, low, high (as `accuracy`), difference
    (measured minus published), setting (of the published), differs (known differences here), how (the published
    value was obtained).
    """
    measured = {row["arm"]: row for row in accuracy(results.runs, level).to_dicts()}
    rows = [
        {"published": entry.value, "spread": entry.spread}
        | {name: measured[entry.arm][name] for name in ("n", "mean", "low", "high")}
        | {"difference": measured[entry.arm]["mean"] - entry.value}
        | _about(entry, results)
        for entry in published.of(results.study, ACCURACIES)
    ]
    return pl.DataFrame(rows, schema=_ACCURACY)


def published_ranges(results: Results) -> pl.DataFrame:
    """A row for each published range over runs, of a line on test loss.

    Columns: arm, title, line (its label), quantity, label (of it, with its unit), published_low (null if only the
    upper end is known), published_high, n (runs that did not diverge), low, high (over these; null if there are none),
    setting, differs, how as `published_accuracies`.
    """
    rows = []
    for entry in published.of(results.study, RANGES):
        values = [_ends(entry, *line) for line in _runs(results, entry.arm, entry.label)]
        values = [pair for pair in values if not math.isnan(pair[0])]
        row: dict[str, Any] = {"line": entry.label, "quantity": entry.quantity, "label": _label(entry)}
        row |= {"published_low": entry.low, "published_high": entry.high, "n": len(values)}
        row |= {"low": min((low for low, _ in values), default=None)}
        row |= {"high": max((high for _, high in values), default=None)}
        rows.append(row | _about(entry, results))
    return pl.DataFrame(rows, schema=_RANGE)


def published_points(results: Results) -> pl.DataFrame:
    """A row for each published point of a line.

    Columns: arm, title, label, alpha, loss (published; test, nats), n (runs that did not diverge), measured (their mean
    at that alpha, linear between measured positions), difference (measured minus published), rmse and largest_gap (of
    all points of that line: root mean square of the differences, and the largest absolute one), setting, differs,
    how. Null where no run is measured.
    """
    rows = []
    for entry in published.of(results.study, LINES):
        runs = _runs(results, entry.arm, entry.label)
        means = [float(np.mean([np.interp(alpha, *run) for run in runs])) if runs else None for alpha in entry.alphas]
        gaps = [None if mean is None else mean - loss for mean, loss in zip(means, entry.losses, strict=True)]
        known = np.array([gap for gap in gaps if gap is not None])
        line = {"label": entry.label, "n": len(runs)} | _about(entry, results)
        line |= {"rmse": float(np.sqrt((known**2).mean())) if known.size else None}
        line |= {"largest_gap": float(np.abs(known).max()) if known.size else None}
        rows += [
            line | {"alpha": alpha, "loss": loss, "measured": mean, "difference": gap}
            for alpha, loss, mean, gap in zip(entry.alphas, entry.losses, means, gaps, strict=True)
        ]
    return pl.DataFrame(rows, schema=_POINT)


def _about(entry: published.Accuracy | published.Line | published.Range, results: Results) -> dict[str, str]:
    arm: Arm = next(arm for arm in results.study.arms if arm.name == entry.arm)
    differs = entry.setting.differs(arm.runs[0].recipe)
    return {
        "arm": arm.name,
        "title": arm.title,
        "setting": str(entry.setting),
        "differs": differs,
        "how": entry.how,
    }


_Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def _runs(results: Results, arm: str, label: str) -> list[_Curve]:
    """Positions and test losses of one line, for each of the arm's runs that did not diverge."""
    runs = results.runs.filter((pl.col("arm") == arm) & (pl.col("status") != "diverged"))
    first = results.lines["batchnorm"].unique(maintain_order=True).to_list()[:1]
    chosen = results.lines.filter(
        (pl.col("arm") == arm)
        & pl.col("seed").is_in(runs["seed"].to_list())
        & (pl.col("label") == label)
        & (pl.col("data") == "test")
        & (pl.col("measure") == "cross_entropy")
        & pl.col("batchnorm").is_in(first)
    ).sort("seed", "alpha", maintain_order=True)
    by_seed = chosen.group_by("seed", maintain_order=True)
    return [(curve["alpha"].to_numpy(), curve["mean"].to_numpy()) for _, curve in by_seed]


def _ends(entry: published.Range, alphas: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[float, float]:
    """The lowest and the highest value of a quantity on one run's line; the same twice where it has one value."""
    if entry.quantity not in _ENDS:
        value = float(shape.STATISTICS[entry.quantity](alphas, losses))
        return value, value
    low, high = {"start": (0.0, 0.0), "end": (1.0, 1.0)}.get(entry.quantity, entry.between)
    inside = losses[(alphas > low) & (alphas < high)]
    values = np.concatenate([inside, np.interp([low, high], alphas, losses)])
    return float(values.max() if entry.quantity == "highest" else values.min()), float(values.max())


def _label(entry: published.Range) -> str:
    if entry.quantity not in _ENDS:
        unit = DEFINITIONS[entry.quantity].unit
        return f"{DEFINITIONS[entry.quantity].label}{f', {unit}' if unit else ''}"
    low, high = entry.between
    where = f" at α = {low:g}" if low == high else f" from α = {low:g} to {high:g}"
    return f"{_ENDS[entry.quantity]}{where if entry.quantity == 'loss' else ''}, nats"
