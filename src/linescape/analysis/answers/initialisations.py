"""Do adversarial and pre-trained initialisations change the barrier and test accuracy?"""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Outcome, columns, widened
from linescape.analysis.answers.contrasts import contrast, missing_interval, sides
from linescape.recipe import Barrier, Recipe, Trained, Weights
from linescape.studies.study import Study

ADVERSARIAL, PRETRAINED, RESTARTED = "trained on wrong labels", "pre-trained", "top of a barrier"
"""Kinds of initialisation that are not random."""

PRIMARY = {ADVERSARIAL: "hump", PRETRAINED: "barrier_above_chord", RESTARTED: "hump"}
"""Declared before looking: the statistic in which each kind of initialisation should differ from its baseline.

Adversarial initialisations and restarts: the source speaks of barriers that appear or vanish, and a hump is a rise
that is followed by a fall. Pre-trained initialisations: the source's own curves from scratch have no hump either, so
the effect of pre-training shows above the chord (1.88 nats from scratch, 0.36 to 0.50 pre-trained, at the positions of
`linescape.studies.vlaar2022.published`), not in min Delta (0.02 and 0.02).
"""

COMPARED = ("hump", "barrier_above_chord", "plateau_loss", "min_delta", "interior_peak", "accuracy")


def starts(study: Study) -> dict[str, str]:
    """Arms whose runs start from another training, except partial pre-training, and the kind of that initialisation."""
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
    """By how much the barrier and test accuracy of arms with a special initialisation differ from their baseline's.

    `starts` maps an arm's name to the kind of its initialisation. The primary contrast of an arm is about the
    statistic that `PRIMARY` names for that kind. Restarts at a barrier are compared with the same seeds of their
    baseline, in pairs. Columns of `numbers`: arm, title, start, baseline, number, label, unit, paired, primary, runs,
    baseline_runs, mean, baseline_mean, difference, low, high, low_all, high_all (as low and high where `primary`),
    effect (Hedges' g; NaN for pairs), effect_low, effect_high.
    """
    comparisons = len(starts) * (len(COMPARED) - 1)
    wide = widened(level, comparisons)
    rows: list[dict[str, Any]] = []
    arms: list[dict[str, Any]] = []
    for arm, start in starts.items():
        of_arm = {name: _row(runs, arm, start, name, level, wide) for name in COMPARED}
        rows += of_arm.values()
        primary, accuracy = of_arm[PRIMARY[start]], of_arm["accuracy"]
        learnt = runs.filter(pl.col("arm") == arm)["start_learnt"].drop_nulls()
        arms.append(
            {
                "arm": arm,
                "primary": primary,
                "outcome": _outcome(primary),
                "reason": missing_interval(primary),
                "accuracy": accuracy,
                "accuracy_outcome": Outcome.of(accuracy, "low_all", "high_all"),
                "learnt_of": learnt.len(),
                "not_learnt": int((~learnt).sum()),
            }
        )
    outcomes = {of_arm["arm"]: of_arm["outcome"] for of_arm in arms}
    return Answer("start-and-barrier", outcomes, pl.DataFrame(rows), {"arms": arms, "comparisons": comparisons})


def _row(runs: pl.DataFrame, arm: str, start: str, name: str, level: float, wide: float) -> dict[str, Any]:
    paired = start == RESTARTED
    row = contrast(runs, arm, name, paired, level, level if name == PRIMARY[start] else wide)
    x, y = (side[f"test_{name}"].drop_nulls().drop_nans() for side in sides(runs, arm))
    effect = inference.standardised([] if paired else x, y, level)
    return {**row, "start": start, "primary": name == PRIMARY[start], **columns(effect, "effect", "effect_")}


def _outcome(row: dict[str, Any]) -> Outcome:
    return Outcome.of(row if row["runs"] and row["baseline_runs"] else None)
