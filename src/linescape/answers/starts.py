"""Do adversarial and pre-trained starts change the barrier, and the test accuracy?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape import inference
from linescape.answers.answer import Answer, columns, comparisons, for_all, number, span, widened
from linescape.definitions import SHAPES
from linescape.recipe import Barrier, Recipe, Trained, Weights
from linescape.study import Study

ADVERSARIAL, PRETRAINED, RESTARTED = "trained on wrong labels", "pre-trained", "top of a barrier"
"""What a special start is, in words."""

_COMPARED = ("min_delta", "hump", "interior_peak", "accuracy")


def starts(study: Study) -> dict[str, str]:
    """Arms whose runs start from another training (partial pre-training apart), and what that start is."""
    return {
        arm.name: _start(arm.runs[0].recipe)
        for arm in study.arms
        if arm.runs and arm.group != "partial" and _start(arm.runs[0].recipe)
    }


def _start(recipe: Recipe) -> str:
    match recipe.init:
        case Trained(recipe=other) if other.data.poison is not None or other.data.label_noise > 0:
            return ADVERSARIAL
        case Trained() | Weights():
            return PRETRAINED
        case Barrier():
            return RESTARTED
    return ""


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


def start_and_barrier(runs: pl.DataFrame, starts: dict[str, str], level: float = 0.95) -> Answer:
    """By how much the mean barrier and test accuracy of arms with a special start differ from their baseline's.

    `starts` maps an arm's name to what its start is in words. The verdict is about min_delta and test accuracy; hump
    and interior_peak stand beside them. Columns of `numbers`: arm, title, start, baseline, number, label, unit, runs,
    baseline_runs, mean, baseline_mean, difference, low, high, low_all, high_all, effect (Hedges' g), effect_low,
    effect_high.
    """
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    wide = widened(level, 2 * len(starts))
    for arm, start in starts.items():
        about = runs.filter(pl.col("arm") == arm)
        own, base = sides(runs, arm)
        of_arm: dict[str, dict[str, Any]] = {}
        for name in _COMPARED:
            x, y = (side[f"test_{name}"].drop_nulls() for side in (own, base))
            of_arm[name] = {
                "arm": arm,
                "title": about["title"][0],
                "start": start,
                "baseline": about["baseline"][0],
                "number": name,
                "label": "test accuracy" if name == "accuracy" else SHAPES[name].label,
                "unit": "%" if name == "accuracy" else SHAPES[name].unit,
                "runs": len(x),
                "baseline_runs": len(y),
                "mean": inference.mean(x).value,
                "baseline_mean": inference.mean(y).value,
                **columns(inference.difference(x, y, level), "difference"),
                **for_all(inference.difference(x, y, wide)),
                **columns(inference.standardised(x, y, level), "effect", "effect_"),
            }
        rows += of_arm.values()
        said.append(f"{_barrier(of_arm['min_delta'])} {_accuracy(of_arm['accuracy'])}".rstrip())
    method = (
        "Difference of the means over runs, arm minus its baseline, on the test set; Welch's interval. Verdicts are "
        f"about min Δ and test accuracy, widened for {comparisons(2 * len(starts))}; hump and interior peak are for "
        "context. g: Hedges' standardised effect, the difference in units of the runs' pooled standard deviation, with "
        "the interval of the noncentral t distribution (not widened; exact only for normal values of equal spread, "
        "which rises that are often zero are not); undefined where neither side varies. With few seeds all "
        "of these are wide."
    )
    question = "Does the start change the barrier, and test accuracy? (Adversarial up, pre-trained down)"
    return Answer("start-and-barrier", question, "\n".join(said), method, pl.DataFrame(rows))


# -- words -------------------------------------------------------------------------------------------------------


def _barrier(row: dict[str, Any]) -> str:
    """One arm's sentence: what its start does to min Δ."""
    name = f"{row['title'][:1].upper()}{row['title'][1:]}"
    both = row["runs"] + row["baseline_runs"]
    if not row["runs"] or not row["baseline_runs"]:
        return f"{name}: not measured yet."
    against = f"{number(row['mean'])} against {number(row['baseline_mean'])} nats"
    if math.isnan(row["low_all"]):
        if row["mean"] == row["baseline_mean"] == 0:
            return f"{name}: no line of either arm rises at all ({both} runs), so there is no barrier to change."
        return f"{name}: min Δ {against}; no interval from these {both} runs."
    effect = "" if math.isnan(row["effect"]) else f", g = {number(row['effect'])}"
    apart = f"{number(row['difference'], sign=True)} nats ({span(row)}){effect}"
    if row["low_all"] > 0:
        return f"{name} raises min Δ: {against}, {apart}."
    if row["high_all"] < 0:
        return f"{name} lowers min Δ: {against}, {apart}."
    if row["low"] > 0 or row["high"] < 0:
        return (
            f"{name}: min Δ {against}, {apart}. Alone its interval would exclude zero; allowing for all comparisons it "
            f"spans it, and these {both} runs do not tell."
        )
    return f"{name}: min Δ {against}, {apart}; the interval spans zero: these {both} runs do not tell."


def _accuracy(row: dict[str, Any]) -> str:
    """One arm's second sentence: what its start does to test accuracy."""
    if not row["runs"] or not row["baseline_runs"]:
        return ""
    if math.isnan(row["low_all"]):
        return "Test accuracy: no interval."
    apart = f"{number(row['difference'], sign=True)} points ({span(row)})"
    if row["low_all"] > 0 or row["high_all"] < 0:
        return f"Test accuracy is {'higher' if row['low_all'] > 0 else 'lower'}: {apart}."
    return f"Test accuracy: {apart}, not told."
