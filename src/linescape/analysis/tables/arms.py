"""From runs to arms: a row for each level of an intervention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.tables.results import DEFINITIONS, Results
from linescape.recipe import Trained
from linescape.shape import TOLERANCE, Estimate

_HEAD: dict[str, type[pl.DataType]] = {"arm": pl.String, "group": pl.String, "title": pl.String}
_ACCURACY: dict[str, type[pl.DataType]] = {
    **_HEAD,
    "n": pl.Int64,
    "diverged": pl.Int64,
    **dict.fromkeys(("mean", "deviation", "low", "high"), pl.Float64),
    "baseline": pl.String,
    **dict.fromkeys(("difference", "difference_low", "difference_high"), pl.Float64),
}


def means(lines: pl.DataFrame) -> pl.DataFrame:
    """Mean over the runs of an arm at each position: `Results.lines` without seeds, and `runs`, their number.

    Where one run is NaN or infinite, so is the mean. It can hide humps at different alphas, so show single runs too.
    """
    keys = ["arm", "group", "title", "label", "kind", "data", "measure", "batchnorm", "alpha"]
    return lines.group_by(keys, maintain_order=True).agg(
        pl.col("mean").mean(), pl.len().alias("runs"), pl.col("not_finite").sum()
    )


def comparable(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs evaluated on the most common test set: accuracies on different sets are not comparable."""
    if runs.is_empty():
        return runs
    counts = runs.group_by("test_set", maintain_order=True).len()
    return runs.filter(pl.col("test_set") == counts.sort("len", descending=True, maintain_order=True)["test_set"][0])


def accuracy(runs: pl.DataFrame, level: float = 0.95) -> pl.DataFrame:
    """A row for each arm: test accuracy in %, and its difference from the baseline arm.

    Columns: arm, group, title, n (runs measured that did not diverge, over which everything else is computed),
    diverged (runs), mean, deviation (between runs, n - 1), low, high (t interval, cut at 0 and 100), baseline,
    difference, difference_low, difference_high (Welch's interval; null where the baseline has another test set or is
    the arm itself). Intervals as in `linescape.analysis.inference`, not corrected for multiple comparisons: of 20 arms
    without an effect, one is expected to exclude zero.
    """
    rows = []
    for arm in _arms(runs):
        accuracies = arm.filter(_sound)["test_accuracy"].drop_nulls()
        mean = inference.mean(accuracies, level)
        row = _head(arm) | {"n": len(accuracies), "diverged": arm["status"].to_list().count("diverged")}
        row |= {"mean": mean.value, "deviation": _deviation(accuracies)} | _ends(mean)
        row |= {"low": max(row["low"], 0.0), "high": min(row["high"], 100.0)}  # NaN stays: it compares as false
        base = _baseline(runs, arm)
        row["baseline"] = None if base is None else arm["baseline"][0]
        if base is not None:
            apart = inference.difference(accuracies, base.filter(_sound)["test_accuracy"].drop_nulls(), level)
            row |= {"difference": apart.value} | _ends(apart, "difference_")
        rows.append(row)
    return pl.DataFrame(rows, schema=_ACCURACY)


def shapes(runs: pl.DataFrame, tolerance: float = TOLERANCE) -> pl.DataFrame:
    """A row for each arm: shape of its whole lines on test cross entropy.

    Columns: arm, group, title, n (lines measured of runs that did not diverge), not_monotone (how many of them have
    min_delta above `tolerance` nats), rising (how many of them rise significantly, see `rising`), and the mean of
    each of `DEFINITIONS`, NaN if it is NaN for one run.
    """
    measured = rising(runs.filter(_sound & pl.col("test_min_delta").is_not_null()))
    return measured.group_by(list(_HEAD), maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n"),
        not_monotone(tolerance).sum().cast(pl.Int64).alias("not_monotone"),
        pl.col("rises").sum().cast(pl.Int64).alias("rising"),
        *(pl.col(f"test_{number}").mean().alias(number) for number in DEFINITIONS),
    )


def not_monotone(tolerance: float = TOLERANCE, number: str = "min_delta") -> pl.Expr:
    """True for runs whose test `number` is above `tolerance` nats; false for NaN, null where not measured."""
    column = pl.col(f"test_{number}")
    return column.is_not_nan() & (column > tolerance)


def rising(runs: pl.DataFrame, level: float = 0.95) -> pl.DataFrame:
    """`runs` with a column `rises`: whether a run's whole line rises significantly, given the noise of the examples.

    `rise_p_value` at most 1 - `level` after Holm's step-down over the runs of the arm, so that the
    probability of a false positive among an arm's runs is at most 1 - `level`. The rise may be less than `TOLERANCE`.
    Null without a p-value.
    """
    parts = [
        arm.with_columns(rises=pl.Series(inference.holm(arm["rise_p_value"].fill_null(math.nan)), dtype=pl.Float64))
        for arm in _arms(runs)
    ]
    sure = pl.when(pl.col("rises").is_not_nan()).then(pl.col("rises") <= 1 - level + 1e-12)
    return pl.concat([runs.with_columns(rises=pl.lit(None, pl.Float64)).clear(), *parts]).with_columns(rises=sure)


def partial(results: Results, level: float = 0.95) -> pl.DataFrame:
    """Trained networks with some blocks reinitialised and trained again, and training from scratch.

    As `accuracy`, for the arms of group ``partial`` and their baselines, and `reset`, the reinitialised blocks.
    """
    reset = {
        arm.name: ", ".join(run.recipe.init.reset)
        for arm in results.study.arms
        for run in arm.runs
        if arm.group == "partial" and isinstance(run.recipe.init, Trained)
    }
    bases = {arm.baseline for arm in results.study.arms if arm.name in reset}
    table = accuracy(results.runs, level).filter(pl.col("arm").is_in([*reset, *bases]))
    return table.with_columns(pl.col("arm").replace_strict(reset, default="").alias("reset"))


_sound = pl.col("status") != "diverged"


def _arms(runs: pl.DataFrame) -> Iterator[pl.DataFrame]:
    yield from runs.partition_by("arm", maintain_order=True)


def _baseline(runs: pl.DataFrame, arm: pl.DataFrame) -> pl.DataFrame | None:
    """The runs of an arm's baseline, if that is another arm measured on the same test set."""
    base = runs.filter(
        (pl.col("arm") == arm["baseline"][0])
        & (pl.col("arm") != arm["arm"][0])
        & (pl.col("test_set") == arm["test_set"][0])
    )
    return None if base.is_empty() else base


def _head(arm: pl.DataFrame) -> dict[str, Any]:
    return {name: arm[name][0] for name in _HEAD}


def _ends(estimate: Estimate, prefix: str = "") -> dict[str, float]:
    return {f"{prefix}low": estimate.low, f"{prefix}high": estimate.high}


def _deviation(values: pl.Series) -> float:
    deviation = values.std()
    return float(deviation) if isinstance(deviation, float) else math.nan
