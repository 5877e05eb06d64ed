"""Does partial pre-training reduce test accuracy?"""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.answers.answer import Answer, Outcome, widened
from linescape.analysis.tables import Results
from linescape.studies.study import Study

PRIMARY = "partial-4"
"""Declared before looking: the last block reinitialised (RI-4) against training from scratch. It has the largest
difference that the source states, 90.97 against 92.2 %."""


def last_block(study: Study) -> str | None:
    """The arm with the last block reinitialised, which is `PRIMARY` in networks of four; None where there is none."""
    numbered = [arm.name for arm in study.arms if re.fullmatch(r"partial-\d", arm.name)]
    return max(numbered, default=None)


def partial_pretraining(results: Results, level: float = 0.95) -> Answer:
    """Test accuracy of trained networks with a block reinitialised and trained again, compared with from scratch.

    Columns of `numbers`: as `tables.partial`, and low_all, high_all of the difference (corrected, but for `PRIMARY`).
    """
    plain = tables.partial(results, level)
    compared = pl.col("difference").is_not_null() & pl.col("difference").is_not_nan()
    others = plain.filter(compared & (pl.col("arm") != PRIMARY)).height
    wide = tables.partial(results, widened(level, others)).select(
        "arm", low_all="difference_low", high_all="difference_high"
    )
    numbers = plain.join(wide, on="arm", how="left", maintain_order="left").with_columns(
        pl.when(pl.col("arm") == PRIMARY).then(f"difference_{end}").otherwise(f"{end}_all").alias(f"{end}_all")
        for end in ("low", "high")
    )
    rows = numbers.filter(compared).to_dicts()
    by_outcome: dict[str, list[dict[str, Any]]] = {outcome.name.lower(): [] for outcome in Outcome}
    for row in rows:
        by_outcome[Outcome.of(row, "low_all", "high_all").name.lower()].append(row)
    primary = next((row for row in rows if row["arm"] == PRIMARY), None)
    outcomes = {PRIMARY: Outcome.of(primary, "low_all", "high_all")}
    last = next((row for row in rows if row["arm"] == last_block(results.study)), None)
    facts = {"comparisons": others, "primary": primary, "last": last, **by_outcome}
    return Answer("partial-pretraining", outcomes, numbers, facts)
