"""An arm against its baseline in one statistic: which runs are compared, by which test, with which interval."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import columns, for_all
from linescape.shape import Estimate
from linescape.shape.definitions import DEFINITIONS


def contrast(runs: pl.DataFrame, arm: str, name: str, paired: bool, level: float, wide: float) -> dict[str, Any]:
    """The difference of an arm's mean from its baseline's as a row of a table.

    Args:
        runs: `tables.Results.runs`.
        arm: the arm; its baseline is in its rows.
        name: a statistic of the whole line, or ``accuracy``.
        paired: compare runs of the same seed.
        level: of low and high.
        wide: of low_all and high_all.

    Returns:
        group, arm, title, baseline, number, label, unit, paired, runs, baseline_runs, mean, baseline_mean (of the runs
        that are compared), difference, low, high, low_all, high_all.
    """
    about, column = runs.filter(pl.col("arm") == arm), f"test_{name}"
    own, base = (side.filter(pl.col(column).is_not_null() & pl.col(column).is_not_nan()) for side in sides(runs, arm))
    if paired:
        own, base = (side.join(other, "seed", "semi").sort("seed") for side, other in ((own, base), (base, own)))
    x, y = own[column], base[column]
    return {
        **{key: about[key][0] for key in ("group", "arm", "title", "baseline")},
        "number": name,
        "label": "test accuracy" if name == "accuracy" else DEFINITIONS[name].label,
        "unit": "%" if name == "accuracy" else DEFINITIONS[name].unit,
        "paired": paired,
        "runs": x.len(),
        "baseline_runs": y.len(),
        "mean": inference.mean(x).value,
        "baseline_mean": inference.mean(y).value,
        **columns(_apart(x, y, name, paired, level), "difference"),
        **for_all(_apart(x, y, name, paired, wide)),
    }


def _apart(x: pl.Series, y: pl.Series, name: str, paired: bool, level: float) -> Estimate:
    """Statistics of lines by permutation, since barriers are often exactly zero; test accuracy by t intervals."""
    if name == "accuracy":
        return inference.mean(x - y, level) if paired else inference.difference(x, y, level)
    return (inference.paired_difference if paired else inference.permutation_difference)(x, y, level)


def sides(runs: pl.DataFrame, arm: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The runs of an arm and of its baseline on the same test set; of those that did not diverge."""
    own = runs.filter((pl.col("arm") == arm) & (pl.col("status") != "diverged"))
    about = runs.filter(pl.col("arm") == arm)
    base = runs.filter(
        (pl.col("arm") == about["baseline"][0])
        & (pl.col("test_set") == about["test_set"][0])
        & (pl.col("status") != "diverged")
    )
    return own, base
