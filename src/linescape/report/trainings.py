"""The part of a study's page that checks weight decays, and whether wrong labels were learnt."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.tables import LEARNT, Results
from linescape.report import page
from linescape.report.page import Column
from linescape.report.text import caption
from linescape.studies.vlaar2022 import published

_DECAY = [
    Column("title", "arm"),
    Column("weight_decay", "weight decay", "number", 5),
    Column("decay_sum", "sum of rate × decay / (1 − momentum)", "number"),
]

_LEARNT = [
    Column("title", "arm", "once"),
    Column("seed", "seed", "number", 0),
    Column("start_error", "training error on the wrong labels, %", "number"),
    Column("wanted", "training stops at, %", "number"),
    Column("learnt", "learnt"),
]


def trainings_section(results: Results) -> dict[str, Any]:
    """Tables of weight decays and of wrong labels, each None where there is nothing to compare, and warnings."""
    decays, learnt = tables.decays(results), tables.learnt(results)
    source_sum = published.DECAY_SUM if published.of_source(results.study) else None
    yes_or_no = learnt.with_columns(
        pl.col("learnt").replace_strict({True: "yes", False: "no"}, default=None, return_dtype=pl.String)
    )
    return {
        "decays": page.table(decays, _DECAY, caption("decays", source_sum=source_sum))
        if decays["decay_sum"].n_unique() > 1
        else None,
        "learnt": page.table(yes_or_no, _LEARNT, caption("learnt", share=LEARNT)) if learnt.height else None,
        "not_learnt": [caption("not_learnt", arm=arm) for arm in tables.not_learnt(results).to_dicts()],
    }
