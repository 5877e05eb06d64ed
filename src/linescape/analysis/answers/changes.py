"""Which interventions change the shape of the line, and does test accuracy change with it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis.answers.answer import (
    Answer,
    comparisons,
    inconclusive,
    leaves_out,
    listed,
    number,
    span,
    widened,
)
from linescape.analysis.answers.contrasts import contrast
from linescape.analysis.answers.initialisations import RESTARTED

PRIMARY = ("no-weight-decay", "hump")
"""Declared before looking: without weight decay about half of the source's lines have a hump, with it none."""

SHAPE = ("hump", "barrier_above_chord", "plateau_loss")
"""What counts as the shape here: a barrier in the source's sense, its height above the chord, and the plateau."""


def interventions_and_shape(runs: pl.DataFrame, starts: Mapping[str, str], level: float = 0.95) -> Answer:
    """Differences of every arm from its baseline in `SHAPE` and in test accuracy, by group of interventions.

    `starts` as `starts.starts` gives them: restarts at a barrier are compared in pairs. Columns of `numbers`: as
    `contrast.contrast`, low_all and high_all widened for all but the primary contrast, and primary.
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
    first = next((row for row in rows if row["primary"]), None)
    return Answer(
        "interventions-and-shape",
        "Which interventions change the shape of the line, and does test accuracy change with it?",
        "\n".join([_primary(first), *_groups(rows)]) if rows else "No arm has a baseline to compare it with.",
        "Each arm minus its baseline, means over runs on the test set: statistics of whole lines by permutation (with "
        "3 against 3 runs no 95 % interval exists), test accuracy by Welch's interval, restarts at a barrier in pairs. "
        f"Widened for {comparisons(compared)}, all but the primary contrast. An arm without a change that its interval "
        "shows is no arm without a change. The question is our wording of the source's second one.",
        pl.DataFrame(rows),
        _headline(rows),
        primary="the hump without weight decay against the baseline with it, the source's plainest change of shape.",
        here=_outcome(first),
    )


def _row(runs: pl.DataFrame, arm: str, name: str, paired: bool, level: float, wide: float) -> dict[str, Any]:
    primary = (arm, name) == PRIMARY
    return {**contrast(runs, arm, name, paired, level, level if primary else wide), "primary": primary}


# -- words -------------------------------------------------------------------------------------------------------


def _changed(row: dict[str, Any]) -> bool:
    return leaves_out(row, 0, "low_all", "high_all")


def _primary(row: dict[str, Any] | None) -> str:
    if row is None or not row["runs"] or not row["baseline_runs"]:
        return "The primary contrast, weight decay against none, is not measured."
    start = f"Without weight decay the hump is {number(row['mean'])}, with it {number(row['baseline_mean'])} nats"
    if math.isnan(row["low"]):
        if not math.isfinite(row["difference"]):
            return f"{start}; an infinite value among the runs leaves no basis for an interval."
        few = f"too few runs ({row['runs']} and {row['baseline_runs']}) for a 95 % interval"
        return f"{start}; {few if row['difference'] else 'no difference to test'}."
    if leaves_out(row, 0, "low", "high"):
        return f"{start}: {number(row['difference'], sign=True)} ({span(row, 'low', 'high')})."
    return f"{start}. {inconclusive('the difference', row)}"


def _groups(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence for each group: arms whose shape changes, and whether accuracy does."""
    said = []
    for group in dict.fromkeys(row["group"] for row in rows):
        own = [row for row in rows if row["group"] == group]
        shapes = [row for row in own if row["number"] != "accuracy"]
        arms = list(dict.fromkeys(row["arm"] for row in shapes if math.isfinite(row["low_all"])))
        changed = [row for row in shapes if _changed(row)]
        name = f"{group[:1].upper()}{group[1:]}"
        total = len({row["arm"] for row in own})
        if not arms:
            said.append(f"{name}: too few runs for an interval of the shape in any of {total} arms.")
            continue
        words = [
            f"{row['title']}, {row['label']} {number(row['difference'], sign=True)} ({span(row)})" for row in changed
        ]
        count = len({row["arm"] for row in changed})
        said.append(
            f"{name}: the shape changes in {count} of {len(arms)} arms that have an interval"
            + (f": {listed(words)}. Test accuracy changes in {_with(own, changed)} of these." if words else ".")
        )
    return said


def _with(rows: list[dict[str, Any]], changed: list[dict[str, Any]]) -> int:
    """In how many arms of changed shape the test accuracy changes too."""
    arms = {row["arm"] for row in changed}
    return sum(row["number"] == "accuracy" and row["arm"] in arms and _changed(row) for row in rows)


def _headline(rows: list[dict[str, Any]]) -> str:
    shapes = [row for row in rows if row["number"] != "accuracy"]
    asked = {row["arm"] for row in shapes if math.isfinite(row["low_all"])}
    if not asked:
        return "There is too little data to say which interventions change the shape: no arm has runs for an interval."
    changed = [row for row in shapes if _changed(row)]
    if not changed:
        return f"Inconclusive: in none of {len(asked)} arms does the interval of a change of shape exclude 0."
    groups = ", ".join(dict.fromkeys(row["group"] for row in changed))
    arms = len({row["arm"] for row in changed})
    return (
        f"The shape changes in {arms} of {len(asked)} arms (groups: {groups}); test accuracy changes too in "
        f"{_with(rows, changed)} of these {arms}."
    )


def _outcome(row: dict[str, Any] | None) -> str:
    if row is None or not leaves_out(row, 0, "low", "high"):
        return "inconclusive"
    return f"no weight decay {'raises' if row['low'] > 0 else 'lowers'} the hump"
