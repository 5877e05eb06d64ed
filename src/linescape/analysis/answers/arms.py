"""How do each arm's line and accuracy differ from its baseline's? Asked of a study that repeats no other work."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis.answers.answer import Answer, Outcome, excludes, widened
from linescape.analysis.answers.contrasts import contrast

COMPARED = ("barrier_above_chord", "hump", "min_delta", "accuracy")
"""The barrier, the rise on the way, the largest rise of any kind, and what the training is for."""


def arms_and_line(runs: pl.DataFrame, level: float = 0.95) -> Answer:
    """Differences of every arm from its baseline in `COMPARED`; no contrast is primary, so all are corrected.

    Columns of `numbers`: as `contrasts.contrast`. Outcomes: of each arm's barrier above the chord.
    """
    arms = [
        arm
        for arm, base in runs.select("arm", "baseline").unique(maintain_order=True).iter_rows()
        if base is not None and base != arm and base in runs["arm"]
    ]
    count = len(arms) * len(COMPARED)
    wide = widened(level, count)
    rows = [contrast(runs, arm, name, False, level, wide) for arm in arms for name in COMPARED]
    of_arms = [_arm([row for row in rows if row["arm"] == arm]) for arm in arms]
    facts = {
        "comparisons": count,
        "arms": of_arms,
        "with_interval": [arm for arm in of_arms if arm["rows"]],
        "changed": [arm for arm in of_arms if any(row in arm["lines"] for row in arm["changed"])],
        "accuracy_changed": [arm for arm in of_arms if any(row not in arm["lines"] for row in arm["changed"])],
    }
    barriers = [row for row in rows if row["number"] == COMPARED[0]]
    outcomes = {row["arm"]: Outcome.of(row, "low_all", "high_all") for row in barriers}
    return Answer("arms-and-line", outcomes, pl.DataFrame(rows), facts)


def _arm(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One arm: its contrasts of the line that have an interval, and those whose corrected interval excludes 0."""
    lines = [row for row in rows if row["number"] != "accuracy"]
    known = [row for row in rows if math.isfinite(row["low_all"])]
    return {
        "title": rows[0]["title"],
        "baseline": rows[0]["baseline"],
        "runs": rows[0]["runs"],
        "rows": [row for row in known if row in lines],
        "lines": lines,
        "all": rows,
        "changed": [row for row in known if excludes(row, 0)],
    }
