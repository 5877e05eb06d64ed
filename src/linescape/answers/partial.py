"""Does partial pre-training hurt test accuracy?"""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape import tables
from linescape.answers.answer import Answer, comparisons, number, span, widened
from linescape.tables import Results


def partial_pretraining(results: Results, level: float = 0.95) -> Answer:
    """Test accuracy of trained networks with a block set back to random and trained again, against from scratch.

    Columns of `numbers`: as `tables.partial`, and low_all, high_all of the difference.
    """
    plain = tables.partial(results, level)
    compared = pl.col("difference").is_not_null() & pl.col("difference").is_not_nan()
    tried = plain.filter(compared)
    wide = tables.partial(results, widened(level, tried.height)).select(
        "arm", low_all="difference_low", high_all="difference_high"
    )
    numbers = plain.join(wide, on="arm", how="left", maintain_order="left")
    rows = numbers.filter(compared).to_dicts()
    worse = [row for row in rows if row["high_all"] < 0]
    better = [row for row in rows if row["low_all"] > 0]
    open_ = [row for row in rows if row not in worse and row not in better]
    parts = [
        f"{words}: {'; '.join(_points(row) for row in some)}."
        for words, some in (
            ("Less accurate than from scratch", worse),
            ("More accurate than from scratch", better),
            ("These runs do not tell", open_),
        )
        if some
    ]
    return Answer(
        "partial-pretraining",
        "Does partial pre-training hurt test accuracy?",
        "\n".join(parts) or "No run of these arms and of their baseline is measured yet.",
        "Trained, some blocks set back to random, trained again with the whole recipe. Difference of mean test "
        "accuracy from training from scratch in percentage points; Welch's interval, widened for "
        f"{comparisons(len(rows))}. Both sides' runs count as independent, though each of these starts from one of "
        "the runs from scratch.",
        numbers,
    )


def _points(row: dict[str, Any]) -> str:
    return f"{row['title']}, {number(row['difference'], sign=True)} points ({span(row)})"
