"""Which interventions change the shape of the line, and does test accuracy change with it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis.answers.answer import Answer, Outcome, excludes, widened
from linescape.analysis.answers.contrasts import contrast, missing_interval
from linescape.analysis.answers.initialisations import RESTARTED

PRIMARY = ("no-weight-decay", "hump")
"""Declared before looking: without weight decay about half of the source's lines have a hump, with it none."""

SHAPE = ("hump", "barrier_above_chord", "plateau_loss")
"""Statistics that describe the shape here: a barrier in the source's sense, its height above the chord, the plateau."""


def interventions_and_shape(runs: pl.DataFrame, starts: Mapping[str, str], level: float = 0.95) -> Answer:
    """Differences of every arm from its baseline in `SHAPE` and in test accuracy, by group of interventions.

    `starts` as `initialisations.starts` returns them: restarts at a barrier are compared in pairs. Columns of
    `numbers`: as `contrasts.contrast`, low_all and high_all corrected for all but the primary contrast, and primary.
    """
    arms = [
        arm
        for arm, base in runs.select("arm", "baseline").unique(maintain_order=True).iter_rows()
        if base is not None and base != arm and base in runs["arm"]
    ]
    compared = len(arms) * (len(SHAPE) + 1) - (PRIMARY[0] in arms)
    wide = widened(level, compared)
    rows = [
        _row(runs, arm, name, starts.get(arm) == RESTARTED, level, wide)
        for arm in arms
        for name in (*SHAPE, "accuracy")
    ]
    primary = next((row for row in rows if row["primary"] and row["runs"] and row["baseline_runs"]), None)
    groups = [_group(rows, name) for name in dict.fromkeys(row["group"] for row in rows)]
    facts = {
        "comparisons": compared,
        "primary": primary,
        "reason": missing_interval(primary) if primary else "",
        "groups": groups,
        "arms_with_interval": sum(group["arms_with_interval"] for group in groups),
        "changed_arms": sum(group["changed_arms"] for group in groups),
        "accuracy_too": sum(group["accuracy_too"] for group in groups),
    }
    outcomes = {PRIMARY[0]: Outcome.of(primary)}
    return Answer("interventions-and-shape", outcomes, pl.DataFrame(rows), facts)


def _row(runs: pl.DataFrame, arm: str, name: str, paired: bool, level: float, wide: float) -> dict[str, Any]:
    primary = (arm, name) == PRIMARY
    return {**contrast(runs, arm, name, paired, level, level if primary else wide), "primary": primary}


def _group(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """One group of interventions: how many arms, how many change the shape, how many of these test accuracy too."""
    of_group = [row for row in rows if row["group"] == name]
    shapes = [row for row in of_group if row["number"] != "accuracy"]
    changed = [row for row in shapes if excludes(row, 0)]
    arms = {row["arm"] for row in changed}
    return {
        "name": name,
        "arms": len({row["arm"] for row in of_group}),
        "arms_with_interval": len({row["arm"] for row in shapes if math.isfinite(row["low_all"])}),
        "changed": changed,
        "changed_arms": len(arms),
        "accuracy_too": sum(
            row["number"] == "accuracy" and row["arm"] in arms and excludes(row, 0) for row in of_group
        ),
    }
