"""Does partial pre-training hurt test accuracy?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.answers.answer import Answer, comparisons, number, span, widened
from linescape.analysis.tables import Results

PRIMARY = "partial-4"
"""Declared before looking: the last block set back to random (RI-4) against from scratch. It has the largest difference
that the source states, 90.97 against 92.2 %."""


def partial_pretraining(results: Results, level: float = 0.95) -> Answer:
    """Test accuracy of trained networks with a block set back to random and trained again, against from scratch.

    Columns of `numbers`: as `tables.partial`, and low_all, high_all of the difference (widened, but for `PRIMARY`).
    """
    plain = tables.partial(results, level)
    compared = pl.col("difference").is_not_null() & pl.col("difference").is_not_nan()
    tried = plain.filter(compared)
    others = tried.filter(pl.col("arm") != PRIMARY).height
    wide = tables.partial(results, widened(level, others)).select(
        "arm", low_all="difference_low", high_all="difference_high"
    )
    numbers = plain.join(wide, on="arm", how="left", maintain_order="left").with_columns(
        pl.when(pl.col("arm") == PRIMARY).then(f"difference_{end}").otherwise(f"{end}_all").alias(f"{end}_all")
        for end in ("low", "high")
    )
    rows = numbers.filter(compared).to_dicts()
    worse = [row for row in rows if row["high_all"] < 0]
    better = [row for row in rows if row["low_all"] > 0]
    open_ = [row for row in rows if row not in worse and row not in better]
    parts = [
        f"{words}: {'; '.join(_points(row) for row in some)}."
        for words, some in (
            ("Less accurate than from scratch", worse),
            ("More accurate than from scratch", better),
            (
                "Inconclusive, since the 95 % interval includes 0",
                [row for row in open_ if not math.isnan(row["low_all"])],
            ),
            ("Too few runs for an interval", [row for row in open_ if math.isnan(row["low_all"])]),
        )
        if some
    ]
    return Answer(
        "partial-pretraining",
        "Does partial pre-training hurt test accuracy?",
        "\n".join(parts) or "No run of these arms and of their baseline is measured yet.",
        "Trained, some blocks set back to random, trained again with the whole recipe. Difference of mean test "
        "accuracy from training from scratch in percentage points; Welch's interval, widened for "
        f"{comparisons(others)}, but for the primary contrast. Both sides' runs count as independent, though each of "
        "these starts from one of the runs from scratch.",
        numbers,
        primary="block 4 set back to random (RI-4) against from scratch, the largest difference in the source.",
        here=_outcome(next((row for row in rows if row["arm"] == PRIMARY), None)),
    )


def _points(row: dict[str, Any]) -> str:
    return f"{row['title']}, {_difference(row)}"


def _difference(row: dict[str, Any]) -> str:
    return f"{number(row['difference'], sign=True)} points ({span(row)})"


def _outcome(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    if row["high_all"] < 0 or row["low_all"] > 0:
        return f"RI-4 is {'less' if row['high_all'] < 0 else 'more'} accurate, {_difference(row)}"
    return f"inconclusive, {_difference(row)}"
