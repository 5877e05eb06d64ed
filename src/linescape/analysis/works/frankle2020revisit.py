"""How the loss falls along the line, and barriers from states within a training (Frankle 2020, arXiv 2012.06898)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from linescape import data
from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, sortable, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs, undefined
from linescape.recipe import Moment
from linescape.shape import TOLERANCE, Estimate, barrier_above_max_end, min_delta
from linescape.shape.statistics import segment
from linescape.studies.study import Arm
from linescape.training.loop import steps_per_epoch

FEWEST = 3
"""Runs for an interval of a barrier: two that agree by chance would give a narrow one."""
FINDINGS = {
    "fall-along-the-line": "loss stays high and error at chance until near the end on networks for CIFAR-10 and "
    "ImageNet, and does not fall gradually as that of Goodfellow et al.'s",
    "barriers-within-training": "states a little later in training are separated from the end by a barrier",
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """How late the loss falls, and the height of the barrier from each state of a training to its end."""
    return _fall(results, level), _barriers(results, level)


def halfway(alphas: ArrayLike, losses: ArrayLike) -> float:
    """The alpha from which on the loss is below the mean of L(0) and L(1); 0.5 for a straight fall. Own definition.

    Between points the curve is taken as straight. NaN for a NaN, an infinite end, or an end not below the start.
    """
    at, values = segment(alphas, losses)
    middle = (values[0] + values[-1]) / 2
    if not values[-1] < values[0] or not math.isfinite(middle) or np.isnan(values).any():
        return math.nan
    last = int(np.flatnonzero(values >= middle)[-1])
    if not math.isfinite(values[last]):
        return float(at[last + 1])
    share = (values[last] - middle) / (values[last] - values[last + 1])
    return float(at[last] + share * (at[last + 1] - at[last]))


def _fall(results: Results, level: float) -> Answer:
    """`halfway` of training loss on the whole line of each arm, compared with the 0.5 of a straight fall.

    Columns of `numbers`: arm, title, runs, halfway, low, high, low_all, high_all (t intervals over runs, the latter
    Bonferroni's over arms), at_chance (share of the line on which test error is at least 95 % of chance), rise (min
    Delta of training loss, nats).
    """
    lines = curves_of(results, "train", "cross_entropy").filter(pl.col("label") == "whole")
    wide = widened(level, lines["arm"].n_unique())
    rises = of_runs(lines, min_delta)
    sound = results.runs.filter(pl.col("status") != "diverged")
    rows = []
    for (arm, title), runs in of_runs(lines, halfway).group_by(["arm", "title"], maintain_order=True):
        row = {"arm": arm, "title": title, "runs": runs.height}
        row |= columns(_on_line(runs["value"], level), "halfway") | for_all(_on_line(runs["value"], wide))
        row["at_chance"] = inference.mean(sound.filter(pl.col("arm") == arm)["test_plateau_error"].drop_nulls()).value
        row["rise"] = rises.filter(pl.col("arm") == arm)["value"].mean()
        rows.append(row)
    outcomes = {row["arm"]: Outcome.of(row, "low_all", "high_all", null=0.5) for row in rows}
    facts = {"rows": rows, "undefined": undefined(rises["value"]), "lines": lines, "runs": results.runs}
    name = "fall-along-the-line"
    claim = Claim.of(
        "On networks for CIFAR-10 the loss stays high until near the end of the line.",
        "",
        "α at which half of the fall of training loss is done (more than 0.5, a straight fall's)",
        next((row for row in rows if row["arm"] == "base"), None),
        "halfway",
        Outcome.ABOVE,
        0.5,
    )
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDINGS[name], claims=(claim,))


def _on_line(alphas: pl.Series, level: float) -> Estimate:
    """A mean of positions with its t interval, which does not leave [0, 1]."""
    mean = inference.mean(alphas, level)
    low, high = (float(np.clip(end, 0, 1)) for end in (mean.low, mean.high))  # NaN stays
    return replace(mean, low=low, high=high)


def _barriers(results: Results, level: float) -> Answer:
    """The barrier on training loss from each state within a training to its end, above the higher of the two.

    One state of each arm is the primary contrast, declared before looking: the one nearest to the middle of training,
    of which the source speaks. Its interval is Bonferroni's over arms, those of all other states are not corrected.

    Columns of `numbers`: arm, title, start, step, share (of the training, %), runs, barrier (nats), low, high,
    low_all, high_all, cases (runs with more than `TOLERANCE`), error (the same of test error, in points), primary.
    """
    lines = curves_of(results, "train", "cross_entropy")
    losses = of_runs(lines, barrier_above_max_end)
    errors = of_runs(curves_of(results, "test", "error"), barrier_above_max_end)
    wide = widened(level, losses["arm"].n_unique())
    rows = []
    for arm in results.study.arms:
        states = _states(arm)
        middle = min((state for state in states if state["label"] != "whole"), key=lambda s: abs(s["share"] - 50))
        for state in states:
            chosen = (pl.col("arm") == arm.name) & (pl.col("label") == state["label"])
            values, of_error = (of.filter(chosen)["value"] for of in (losses, errors))
            if values.len():
                row = {"arm": arm.name, "title": arm.title, **state, **_barrier(values, of_error, level, wide)}
                rows.append(row | {"primary": state is middle})
    primary = [row for row in rows if row["primary"]]
    outcomes = {row["arm"]: Outcome.of(row, "low_all", "high_all", null=TOLERANCE) for row in primary}
    facts = {
        "rows": rows,
        "primary": primary,
        "highest": [
            max((row for row in rows if row["arm"] == one["arm"]), key=lambda row: sortable(row["barrier"]))
            for one in primary
        ],
        "undefined": undefined(of_runs(lines, min_delta)["value"]),
        "tolerance": TOLERANCE,
        "lines": lines,
        "runs": results.runs,
    }
    name = "barriers-within-training"
    claim = Claim.of(
        "States in the middle of a training are separated from its end by a barrier.",
        "",
        f"barrier of training loss above the higher end, nats (more than {TOLERANCE:g})",
        next((row for row in primary if row["arm"] == "base"), None),
        "barrier",
        Outcome.ABOVE,
        TOLERANCE,
    )
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDINGS[name], claims=(claim,))


def _barrier(losses: pl.Series, errors: pl.Series, level: float, wide: float) -> dict[str, Any]:
    """Of the lines from one state, a value for each run."""
    return {
        "runs": losses.len(),
        **columns(_mean(losses, level), "barrier"),
        **for_all(_mean(losses, wide)),
        "cases": int((losses.to_numpy() > TOLERANCE).sum()),
        "error": errors.mean(),
    }


def _mean(barriers: pl.Series, level: float) -> Estimate:
    """The mean of `FEWEST` barriers or more with its t interval."""
    mean = inference.bounded(inference.mean(barriers, level), 0.0, math.inf)
    return replace(mean, low=math.nan, high=math.nan) if len(barriers) < FEWEST else mean


def _states(arm: Arm) -> list[dict[str, Any]]:
    """The starts of an arm's lines in the order of training: label, start (words), step, share (of all steps, %)."""
    recipe = arm.runs[0].recipe
    per_epoch = steps_per_epoch(data.examples(recipe.data)[0], recipe.optimizer.batch_size)
    found = []
    for label, scan in arm.runs[0].lines.items():
        step = _step(scan.start, per_epoch)
        share = 100 * step / (per_epoch * recipe.schedule.epochs)
        found.append({"label": label, "start": str(scan.start), "step": step, "share": share})
    return sorted(found, key=lambda state: state["step"])


def _step(moment: Moment, per_epoch: int) -> int:
    return (moment.number or 0) * (per_epoch if moment.at == "epoch" else 1)
