"""Do adversarial and pre-trained starts change the barrier, and the test accuracy?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, columns, comparisons, inconclusive, number, span, widened
from linescape.analysis.answers.contrasts import contrast, sides
from linescape.recipe import Barrier, Recipe, Trained, Weights
from linescape.studies.study import Study

ADVERSARIAL, PRETRAINED, RESTARTED = "trained on wrong labels", "pre-trained", "top of a barrier"
"""What a special start is, in words."""

PRIMARY = {ADVERSARIAL: "hump", PRETRAINED: "barrier_above_chord", RESTARTED: "hump"}
"""Declared before looking: the statistic in which each kind of start should differ from its baseline.

Adversarial starts and restarts: the source speaks of barriers that appear or vanish, and a hump is a rise that is
given back. Pre-trained starts: the source's own curves from scratch have no hump either, so that pre-training shows
above the chord (1.88 nats from scratch, 0.36 to 0.50 pre-trained, at the positions of
`linescape.studies.vlaar2022.published`), not in min Delta (0.02 and 0.02).
"""

COMPARED = ("hump", "barrier_above_chord", "plateau_loss", "min_delta", "interior_peak", "accuracy")


def starts(study: Study) -> dict[str, str]:
    """Arms whose runs start from another training (partial pre-training apart), and what that start is."""
    return {
        arm.name: _start(arm.runs[0].recipe)
        for arm in study.arms
        if arm.runs and arm.group != "partial" and _start(arm.runs[0].recipe)
    }


def _start(recipe: Recipe) -> str:
    match recipe.init:
        case Trained(recipe=other) if other.data.wrong_labels:
            return ADVERSARIAL
        case Trained() | Weights():
            return PRETRAINED
        case Barrier():
            return RESTARTED
    return ""


def start_and_barrier(runs: pl.DataFrame, starts: dict[str, str], level: float = 0.95) -> Answer:
    """By how much the barrier and test accuracy of arms with a special start differ from their baseline's.

    `starts` maps an arm's name to what its start is in words. The verdict is about the statistic that `PRIMARY` names
    for that start, tested without widening, and about test accuracy. Restarts at a barrier are compared with the same
    runs of their baseline, in pairs. Columns of `numbers`: arm, title, start, baseline, number, label, unit, paired,
    primary, runs, baseline_runs, mean, baseline_mean, difference, low, high, low_all, high_all (as low and high where
    `primary`), effect (Hedges' g; NaN for pairs), effect_low, effect_high.
    """
    wide = widened(level, len(starts) * (len(COMPARED) - 1))
    rows: list[dict[str, Any]] = []
    said, here = [], []
    for arm, start in starts.items():
        of_arm = {name: _row(runs, arm, start, name, level, wide) for name in COMPARED}
        rows += of_arm.values()
        first = of_arm[PRIMARY[start]]
        said.append(" ".join(filter(None, [_barrier(first), _accuracy(of_arm["accuracy"]), _not_learnt(runs, arm)])))
        here.append(f"{first['title']} {_outcome(first)}")
    method = (
        "Difference of the means over runs, arm minus its baseline, on the test set: of statistics of lines by "
        "permutation (3 against 3 runs have no 95 % interval; 3 against 4 are the fewest, or 6 pairs), of test "
        "accuracy by Welch's interval. A restart at a barrier is compared with the same seeds of its baseline, in "
        "pairs. All but "
        f"the primary statistic of each arm are widened for {comparisons(len(starts) * (len(COMPARED) - 1))}. g: "
        "Hedges' standardised effect, the difference in units of the runs' pooled standard deviation, with the "
        "interval of the noncentral t distribution (not widened; exact only for normal values of equal spread); "
        "undefined where neither side varies, and for pairs."
    )
    return Answer(
        "start-and-barrier",
        "Does the start change the barrier, and test accuracy? (Adversarial up, pre-trained down)",
        "\n".join(said),
        method,
        pl.DataFrame(rows),
        primary="adversarial starts and restarts by the hump, which the source calls a barrier; pre-trained starts by "
        "the barrier above the chord, since lines from scratch have no hump in the source either.",
        here="; ".join(here),
    )


def _row(runs: pl.DataFrame, arm: str, start: str, name: str, level: float, wide: float) -> dict[str, Any]:
    paired = start == RESTARTED
    row = contrast(runs, arm, name, paired, level, level if name == PRIMARY[start] else wide)
    x, y = (side[f"test_{name}"].drop_nulls().drop_nans() for side in sides(runs, arm))
    effect = inference.standardised([] if paired else x, y, level)
    return {**row, "start": start, "primary": name == PRIMARY[start], **columns(effect, "effect", "effect_")}


# -- words -------------------------------------------------------------------------------------------------------


def _not_learnt(runs: pl.DataFrame, arm: str) -> str:
    """Whether the start is what it is called, where it was trained on wrong labels."""
    learnt = runs.filter(pl.col("arm") == arm)["start_learnt"].drop_nulls()
    failed = int((~learnt).sum())
    return f"But in {failed} of {learnt.len()} runs the wrong labels were not learnt." if failed else ""


def runs_of(row: dict[str, Any]) -> str:
    """How many runs were compared, in words."""
    return f"{row['runs']} pairs" if row["paired"] else f"{row['runs']} and {row['baseline_runs']}"


def _barrier(row: dict[str, Any]) -> str:
    """One arm's sentence: what its start does to its primary statistic."""
    name = f"{row['title'][:1].upper()}{row['title'][1:]}"
    if not row["runs"] or not row["baseline_runs"]:
        return f"{name}: not measured yet."
    against = f"{number(row['mean'])} against {number(row['baseline_mean'])} nats"
    if math.isnan(row["low"]):
        if row["mean"] == row["baseline_mean"] == 0:
            both = row["runs"] + row["baseline_runs"]
            return f"{name}: no line of either arm has a {row['label']} ({both} runs), so there is nothing to change."
        return f"{name}: {row['label']} {against}; {_no_interval(row)} ({runs_of(row)}) for a 95 % interval."
    change = f"{number(row['difference'], sign=True)} nats ({span(row, 'low', 'high')})"
    if row["low"] > 0:
        return f"{name} raises the {row['label']}: {against}, {change}."
    if row["high"] < 0:
        return f"{name} lowers the {row['label']}: {against}, {change}."
    what = f"the difference of {number(row['difference'], sign=True)} nats"
    return f"{name}: {row['label']} {against} ({runs_of(row)} runs). {inconclusive(what, row)}"


def _outcome(row: dict[str, Any]) -> str:
    if not row["runs"] or not row["baseline_runs"]:
        return "not measured"
    if row["low"] > 0 or row["high"] < 0:
        return f"{'raises' if row['low'] > 0 else 'lowers'} the {row['label']}"
    if math.isnan(row["low"]):
        return f"inconclusive ({_no_interval(row)})"
    return f"inconclusive ({row['label']})"


def _no_interval(row: dict[str, Any]) -> str:
    """Why there is no interval: all values are equal, one is not finite, or there are too few."""
    if row["mean"] == row["baseline_mean"] == 0:
        return "nothing to change"
    return "too few runs" if math.isfinite(row["difference"]) else "an infinite value among the runs, hence no basis"


def _accuracy(row: dict[str, Any]) -> str:
    """One arm's second sentence: what its start does to test accuracy."""
    if not row["runs"] or not row["baseline_runs"]:
        return ""
    if math.isnan(row["low_all"]):
        return "Test accuracy: no interval."
    change = f"{number(row['difference'], sign=True)} points"
    if row["low_all"] > 0 or row["high_all"] < 0:
        return f"Test accuracy is {'higher' if row['low_all'] > 0 else 'lower'}: {change} ({span(row)})."
    return f"Test accuracy, {change}, is inconclusive: its 95 % interval ({span(row)}) includes 0."
