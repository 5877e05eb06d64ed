"""What is published beside what is measured: accuracies, ranges over runs, and points of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape import published
from linescape.definitions import SHAPES
from linescape.published import ACCURACIES, LINES, RANGES
from linescape.study import Arm
from linescape.tables.arms import accuracy
from linescape.tables.results import Results

_SETTING: dict[str, type[pl.DataType]] = dict.fromkeys(("setting", "differs", "how"), pl.String)
_ACCURACY: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "title"), pl.String),
    **dict.fromkeys(("published", "spread"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("mean", "low", "high", "difference"), pl.Float64),
    **_SETTING,
}
_RANGE: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "title", "quantity", "label"), pl.String),
    **dict.fromkeys(("published_low", "published_high"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("low", "high"), pl.Float64),
    **_SETTING,
}
_POINT: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("arm", "title", "label"), pl.String),
    **dict.fromkeys(("alpha", "loss"), pl.Float64),
    **_SETTING,
}
_ENDS: Mapping[str, tuple[str, pl.Expr]] = {
    "start": ("loss at the start", pl.col("mean").filter(pl.col("alpha") == 0).first()),
    "highest": ("highest loss", pl.col("mean").max()),
    "end": ("loss at the end", pl.col("mean").filter(pl.col("alpha") == 1).first()),
}
"""Quantities of `published.Range` that are no shape numbers: a label, and how they follow from a run's line."""


def accuracies_beside(results: Results, level: float = 0.95) -> pl.DataFrame:
    """A row for each arm with a published test accuracy, in %.

    Columns: arm, title, published, spread (what is printed after ±), n, mean, low, high (as `accuracy`), difference
    (measured minus published), setting (of the published), differs (what is known to be otherwise here), how (the
    published was obtained).
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


def ranges_beside(results: Results) -> pl.DataFrame:
    """A row for each published range over runs of a number of the whole line on test loss.

    Columns: arm, title, quantity, label (of it, with its unit), published_low (null: only the upper end is known),
    published_high, n (runs that did not diverge), low, high (over these; null if there are none), setting, differs, how
    as `accuracies_beside`.
    """
    rows = []
    for entry in published.of(results.study, RANGES):
        values = _values(results, entry.arm, entry.quantity)
        known = _ENDS.get(entry.quantity)
        label = f"{known[0]}, nats" if known else f"{SHAPES[entry.quantity].label}, {SHAPES[entry.quantity].unit}"
        row: dict[str, Any] = {"quantity": entry.quantity, "label": label}
        row |= {"published_low": entry.low, "published_high": entry.high}
        rows.append(row | {"n": len(values), "low": values.min(), "high": values.max()} | _about(entry, results))
    return pl.DataFrame(rows, schema=_RANGE)


def points_beside(results: Results) -> pl.DataFrame:
    """A row for each published point of a line: arm, title, label, alpha, loss (test, nats), setting, differs, how."""
    rows = [
        {"label": entry.label, "alpha": alpha, "loss": loss} | _about(entry, results)
        for entry in published.of(results.study, LINES)
        for alpha, loss in zip(entry.alphas, entry.losses, strict=True)
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


def _values(results: Results, arm: str, quantity: str) -> pl.Series:
    """Of the arm's runs that did not diverge."""
    runs = results.runs.filter((pl.col("arm") == arm) & (pl.col("status") != "diverged"))
    if quantity not in _ENDS:
        return runs[f"test_{quantity}"].drop_nulls().drop_nans()
    first = results.lines["batchnorm"].unique(maintain_order=True).to_list()[:1]
    chosen = results.lines.filter(
        (pl.col("arm") == arm)
        & pl.col("seed").is_in(runs["seed"].to_list())
        & (pl.col("kind") == "whole")
        & (pl.col("data") == "test")
        & (pl.col("measure") == "cross_entropy")
        & pl.col("batchnorm").is_in(first)
    )
    return chosen.group_by("seed", maintain_order=True).agg(_ENDS[quantity][1].alias("value"))["value"].drop_nulls()
