"""Monotone lines from starts that are noise or zeros (Tao et al. 2024, PMLR 235:47912)."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs, share, undefined
from linescape.shape import TOLERANCE, min_delta

OWN = "own start"
PRIMARY = "zeros"
"""The start of the primary contrast, declared before looking: it has nothing in common with the training's start."""
FINDING = "lines stay monotone if the start is replaced by other noise or by zeros"


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer: how many lines from each start are monotone, and how their largest rises differ from the own start's.

    On training loss. The interval of a share is Clopper and Pearson's over runs, that of a difference the permutation
    interval of pairs (`inference.paired_difference`), since rises are often zero. Of each network `PRIMARY` is the
    primary contrast, corrected for the number of networks.

    Columns of `numbers`: arm, title, start, runs, monotone (runs whose loss rises by at most `TOLERANCE`), share_low
    and share_high (of monotone lines, %), rise (mean min Delta, nats), difference (from the own start), low, high,
    low_all, high_all.
    """
    lines = curves_of(results, "train", "cross_entropy").with_columns(
        label=pl.col("label").replace("whole", OWN).str.strip_prefix("from ")
    )
    rises = of_runs(lines, min_delta)
    wide = widened(level, rises["arm"].n_unique())
    rows = [
        _row(runs, rises, level, wide) for _, runs in rises.group_by(["arm", "title", "label"], maintain_order=True)
    ]
    primary = [row for row in rows if row["start"] == PRIMARY]
    outcomes = {row["arm"]: Outcome.of(row, "low_all", "high_all") for row in primary}
    facts = {
        "rows": rows,
        "primary": primary,
        "own": [row for row in rows if row["start"] == OWN],
        "others": [row for row in rows if row["start"] not in (OWN, PRIMARY)],
        "undefined": undefined(rises["value"]),
        "tolerance": TOLERANCE,
        "lines": lines,
        "runs": results.runs,
    }
    zeros = next((row for row in primary if row["arm"] == "base"), None)
    claim = Claim.of(
        "The line stays monotone if its start is replaced by zeros.",
        "",
        "monotone lines from zeros, % (more than half)",
        zeros and {**zeros, "share": 100 * zeros["monotone"] / zeros["runs"]},
        "share",
        Outcome.ABOVE,
        50.0,
        ("share_low", "share_high"),
    )
    return (Answer("other-starts", outcomes, pl.DataFrame(rows), facts, finding=FINDING, claims=(claim,)),)


def _row(runs: pl.DataFrame, rises: pl.DataFrame, level: float, wide: float) -> dict[str, Any]:
    arm, start = runs["arm"][0], runs["label"][0]
    own = rises.filter((pl.col("arm") == arm) & (pl.col("label") == OWN)).select("seed", own="value")
    pairs = runs.join(own, on="seed", maintain_order="left")
    monotone = int((runs["value"] <= TOLERANCE).sum())
    row = {"arm": arm, "title": runs["title"][0], "start": start, "runs": runs.height, "monotone": monotone}
    row |= share(monotone, runs.height, level) | {"rise": runs["value"].mean()}
    row |= columns(inference.paired_difference(pairs["value"], pairs["own"], level), "difference")
    return row | for_all(inference.paired_difference(pairs["value"], pairs["own"], wide))
