"""Whether the class that is learnt last has the largest bias (Wang et al. 2023, arXiv 2210.01019)."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis.answers.answer import Answer, Outcome, widened
from linescape.analysis.works.curves import share
from linescape.analysis.works.last_biases import CANDIDATES

ALL = "all networks"
FINDING = "the class that is learnt last has the largest bias"


def answer(runs: pl.DataFrame, level: float) -> Answer:
    """How often three classes have the largest of the last biases, against chance, 1 / classes.

    The source's order is taken as that of training, which no log has by class (our reading; its text was not in reach).
    Read here are the class that leaves chance last along the line, the primary contrast, and the class with the highest
    error at the end. The third is the class recognised on the plateau: if biases outweigh the signal there, as the
    source says, it has the largest one.

    Intervals are exact for independent runs (Clopper & Pearson). Runs of one seed have the same order of the images, so
    that of all networks is too short if these resemble each other. Corrected intervals of all networks hold together
    for the three classes.

    Columns of `numbers`: which (of `CANDIDATES`), title, runs, known (with one such class), same (that has the largest
    bias), share (%), share_low, share_high, low_all, high_all (%, corrected), chance (%), rank (mean of its bias, 1 the
    largest).

    Args:
        runs: of `last_biases.by_run`.
        level: of the intervals.
    """
    rows: list[dict[str, Any]] = []
    for which in CANDIDATES:
        rows.append(_row(runs, which, ALL, level))
        of_arms = runs.group_by("title", maintain_order=True)
        rows += [_row(of_arm, which, str(title), level) for (title,), of_arm in of_arms]
    together = [row for row in rows if row["title"] == ALL] if runs.height else []
    outcomes = {row["which"]: Outcome.of(row, "low_all", "high_all", row["chance"]) for row in together if row["known"]}
    ranks = [
        runs.select("title", start=pl.lit(words), value=pl.col(f"{which}_rank").cast(pl.Float64)).drop_nulls()
        for which, words in CANDIDATES.items()
    ]
    facts = {"together": together, "candidates": CANDIDATES, "of_runs": pl.concat(ranks)}
    numbers = pl.DataFrame(rows if runs.height else [], infer_schema_length=None)
    return Answer("class-learnt-last", outcomes, numbers, facts, finding=FINDING)


def _row(runs: pl.DataFrame, which: str, title: str, level: float) -> dict[str, Any]:
    known = runs.filter(pl.col(which).is_not_null())
    same = int((known[which] == known["largest"]).sum())
    row: dict[str, Any] = {"which": which, "title": title, "runs": runs.height, "known": known.height, "same": same}
    row |= {"share": 100 * same / known.height if known.height else math.nan}
    row |= _interval(same, known.height, level)
    wide = _interval(same, known.height, widened(level, len(CANDIDATES)))
    row |= {"low_all": wide["share_low"], "high_all": wide["share_high"]}
    chance = float((100 / runs["classes"]).mean()) if runs.height else math.nan  # type: ignore[arg-type]
    return row | {"chance": chance, "rank": known[f"{which}_rank"].mean()}


def _interval(count: int, of: int, level: float) -> dict[str, float]:
    return share(count, of, level) if of else {"share_low": math.nan, "share_high": math.nan}
