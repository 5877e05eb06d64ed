"""An arm compared with its baseline in one statistic: which runs, by which test, with which interval."""

from __future__ import annotations

import math
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
        arm: name of the arm; its rows name its baseline.
        name: a statistic of the whole line, or ``accuracy``.
        paired: compare runs of the same seed.
        level: confidence level of low and high.
        wide: that of low_all and high_all.

    Returns:
        group, arm, title, baseline, number, label, unit, paired, runs, baseline_runs, mean, baseline_mean (of the runs
        that are compared), difference, low, high, low_all, high_all.
    """
    of_arm, column = runs.filter(pl.col("arm") == arm), f"test_{name}"
    known = pl.col(column).is_not_null() & pl.col(column).is_not_nan()
    treated, base = (side.filter(known) for side in sides(runs, arm))
    if paired:
        sides_in_turn = ((treated, base), (base, treated))
        treated, base = (side.join(other, "seed", "semi").sort("seed") for side, other in sides_in_turn)
    x, y = treated[column], base[column]
    return {
        **{key: of_arm[key][0] for key in ("group", "arm", "title", "baseline")},
        "number": name,
        "label": "test accuracy" if name == "accuracy" else DEFINITIONS[name].label,
        "unit": "%" if name == "accuracy" else DEFINITIONS[name].unit,
        "paired": paired,
        "runs": x.len(),
        "baseline_runs": y.len(),
        "mean": inference.mean(x).value,
        "baseline_mean": inference.mean(y).value,
        **columns(_difference(x, y, name, paired, level), "difference"),
        **for_all(_difference(x, y, name, paired, wide)),
    }


def _difference(x: pl.Series, y: pl.Series, name: str, paired: bool, level: float) -> Estimate:
    """Statistics of lines by permutation, since barriers are often exactly zero; test accuracy by t intervals."""
    if name == "accuracy":
        return inference.mean(x - y, level) if paired else inference.difference(x, y, level)
    return (inference.paired_difference if paired else inference.permutation_difference)(x, y, level)


def sides(runs: pl.DataFrame, arm: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The runs of an arm and of its baseline on the same test set, without those that diverged."""
    of_arm, sound = runs.filter(pl.col("arm") == arm), pl.col("status") != "diverged"
    same_test_set = pl.col("test_set") == of_arm["test_set"][0]
    return of_arm.filter(sound), runs.filter((pl.col("arm") == of_arm["baseline"][0]) & same_test_set & sound)


def missing_interval(row: dict[str, Any]) -> str:
    """Why a contrast has no interval.

    ``infinite``: a run's value is; ``zero``: the statistic is 0 in all runs; ``equal``: both means are the same;
    ``few``: too few runs.
    """
    if not math.isfinite(row["difference"]):
        return "infinite"
    if row["mean"] == row["baseline_mean"]:
        return "equal" if row["mean"] else "zero"
    return "few"
