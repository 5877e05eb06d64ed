"""How many random dimensions a training needs (Li et al. 2018, arXiv 1804.08838)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from linescape import data, models
from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, leading
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of
from linescape.recipe import Subspace
from linescape.studies.study import Arm
from linescape.studies.works.li2018 import IMAGES, LABELS

FINDING = (
    "750 dimensions reach 90 % of the baseline's accuracy with 199,210 weights on MNIST, 190,000 to fit shuffled labels"
)
ENOUGH = 90.0
"""Share of the baseline's performance, in %, that makes a number of dimensions enough."""


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer for both tasks: the smallest dimension tried that is enough, and between which ones the limit lies.

    Performance is test accuracy on images, and on random labels the accuracy on the training examples that are
    measured on lines, both at the end. A dimension's margin is its performance minus `ENOUGH` % of the baseline's, run
    by run of one seed, with a t interval. Dimensions are tested in an order fixed before looking, "enough" from the
    largest down and "too few" from the smallest up, each until one fails. So each side holds with probability `level`.

    Columns of `numbers`: task, dimension, weights (of the network), runs, accuracy (%), share (of the baseline's, %),
    low, high (t interval of the share over seeds, the baseline's mean held fixed), margin (points), margin_low,
    margin_high, full (performance minus the whole of the baseline's, points). Outcomes: of each dimension, where its
    margin lies.
    """
    rows: list[dict[str, Any]] = []
    of_runs: list[dict[str, Any]] = []
    tasks = []
    performances = _performances(results)
    for task in (IMAGES, LABELS):
        of_task = performances.filter(pl.col("task") == task).sort("dimension", maintain_order=True)
        baseline = of_task.filter(pl.col("dimension") == 0)
        found = [
            _row(pairs, level)
            for (dimension,), runs in of_task.group_by(["dimension"], maintain_order=True)
            if dimension and (pairs := runs.join(baseline, on="seed", suffix="_of_all", maintain_order="left")).height
        ]
        rows += found
        if found:
            tasks.append(_needed(task, found))
            mean = float(np.mean(baseline["accuracy"].to_numpy()))
            of_runs += [
                {"task": task, "step": dimension, "share": 100 * accuracy / mean}
                for dimension, accuracy in of_task.select("dimension", "accuracy").iter_rows()
                if dimension
            ]
    outcomes = {f"{row['task']}-{row['dimension']}": Outcome.of(row, "margin_low", "margin_high") for row in rows}
    facts = {"tasks": tasks, "enough": ENOUGH, "of_runs": of_runs}
    images = next((task for task in tasks if task["task"] == IMAGES), None)
    claim = Claim.of(
        "A hundredth as many random dimensions as weights are enough to train a network.",
        "0.38 (750 of 199,210, MNIST)",
        f"smallest dimension tried that reaches {ENOUGH:g} % of the baseline's accuracy, % of the weights",
        images,
        "percent",
        Outcome.BELOW,
        1.0,
        ("percent_low", "percent_high"),
    )
    name = "intrinsic-dimension"
    return (Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDING, claims=(claim,)),)


def _performances(results: Results) -> pl.DataFrame:
    """A row for each run: task, dimension (0 is all weights), weights, seed and accuracy in %."""
    measured = {
        half: {
            (arm, seed): 100.0 - error
            for arm, seed, error in curves_of(results, half, "error")
            .filter((pl.col("label") == "whole") & (pl.col("alpha") == 1.0))
            .select("arm", "seed", "mean")
            .iter_rows()
        }
        for half in ("train", "test")
    }
    rows = [
        {"task": arm.group, "dimension": _dimension(arm), "weights": _weights(arm), "seed": run.seed, "accuracy": found}
        for arm in results.study.arms
        for run in arm.runs
        if (found := measured["train" if arm.group == LABELS else "test"].get((arm.name, run.seed))) is not None
    ]
    kinds = {"task": pl.String, "dimension": pl.Int64, "weights": pl.Int64, "seed": pl.Int64, "accuracy": pl.Float64}
    return pl.DataFrame(rows, schema=kinds)


def _dimension(arm: Arm) -> int:
    trains = arm.runs[0].recipe.trains
    return trains.dimension if isinstance(trains, Subspace) else 0


def _weights(arm: Arm) -> int:
    recipe = arm.runs[0].recipe
    return sum(weight.numel() for weight in models.outline(recipe.model, *data.form(recipe.data)).parameters())


def _row(runs: pl.DataFrame, level: float) -> dict[str, Any]:
    accuracy, of_all = runs["accuracy"].to_numpy(), runs["accuracy_of_all"].to_numpy()
    mean = float(np.nanmean(of_all)) if np.isfinite(of_all).any() else math.nan
    return {
        "task": runs["task"][0],
        "dimension": runs["dimension"][0],
        "weights": runs["weights"][0],
        "runs": runs.height,
        "accuracy": float(accuracy.mean()),
        **columns(inference.mean(100 * accuracy / mean, level), "share"),
        **columns(inference.mean(accuracy - ENOUGH / 100 * of_all, level), "margin", "margin_"),
        "full": float((accuracy - of_all).mean()),
    }


def _needed(task: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The smallest dimension tried that is enough, and the limits that the tests leave; None where none is."""

    def outcome(row: Any) -> Outcome:
        return Outcome.of(row, "margin_low", "margin_high")

    rows = sorted(rows, key=lambda row: row["dimension"])
    enough = leading(rows[::-1], outcome, Outcome.ABOVE)
    too_few = leading(rows, outcome, Outcome.BELOW)
    weights = rows[0]["weights"]
    needed = next((row["dimension"] for row in rows if row["margin"] >= 0), None)
    high = enough[-1]["dimension"] if enough else None
    low = too_few[-1]["dimension"] if too_few else 0
    return {
        "task": task,
        "weights": weights,
        "needed": needed,
        "full": next((row["dimension"] for row in rows if row["full"] >= 0), None),
        "global": next((row["dimension"] for row in rows if row["accuracy"] >= ENOUGH), None),
        "most": rows[-1]["dimension"],
        "low": low,
        "high": high,
        "rows": rows,
        **{
            name: math.inf if value is None else 100 * value / weights
            for name, value in (("percent", needed), ("percent_low", low), ("percent_high", high))
        },
    }
