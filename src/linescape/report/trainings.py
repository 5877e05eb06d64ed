"""The part of a study's page that says whether arms are what they are called."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.tables import LEARNT, Results
from linescape.report import page
from linescape.report.page import Column
from linescape.studies.vlaar2022 import published

_DECAY = [
    Column("title", "arm"),
    Column("weight_decay", "weight decay", "number", 5),
    Column("decay_sum", "sum of rate × decay / (1 − momentum)", "number"),
]

_LEARNT = [
    Column("title", "arm", "once"),
    Column("seed", "seed", "number", 0),
    Column("start_error", "training error on its wrong labels, %", "number"),
    Column("wanted", "training ends at, %", "number"),
    Column("learnt", "learnt"),
]


def section(results: Results) -> dict[str, Any]:
    """Tables of weight decays and of wrong labels, each None where there is nothing to compare, and warnings."""
    decays, learnt = tables.decays(results), tables.learnt(results)
    source = (
        f" In the source's base training it is {published.DECAY_SUM}." if published.of_source(results.study) else ""
    )
    decay_caption = (
        "Weight decay acts through this sum over the steps of a training: without a gradient of their own, weights end "
        f"as about exp(−sum) of what they were.{source} SGD only."
    )
    learnt_caption = (
        f"Learnt: the error is at most {LEARNT:g} % of the share of wrong labels, as met in the last epoch of training "
        "on them."
    )
    words = learnt.with_columns(
        pl.col("learnt").replace_strict({True: "yes", False: "no"}, default=None, return_dtype=pl.String)
    )
    return {
        "decays": page.table(decays, _DECAY, decay_caption) if decays["decay_sum"].n_unique() > 1 else None,
        "learnt": page.table(words, _LEARNT, learnt_caption) if learnt.height else None,
        "not_learnt": tables.not_learnt(results),
    }
