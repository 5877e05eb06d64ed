"""A study's lines on one half of its data, with what a work's question needs to know of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from linescape.analysis.tables import Results
from linescape.studies.study import Run, Scan

Named = Callable[[Run, Scan], Mapping[str, Any] | None]
"""What is known of a line of a run; None leaves the line out."""


def known(results: Results, named: Named, data: str = "test", treatment: int = 0) -> pl.DataFrame:
    """`Results.lines` of runs that did not diverge, with what `named` gives.

    Args:
        results: of the study.
        named: what is known of a line.
        data: ``train`` or ``test``.
        treatment: which BatchNorm treatment, the first unless something else is said; lines without it are left out.
    """
    rows = [
        {"arm": arm.name, "seed": run.seed, "label": label} | dict(facts)
        for arm in results.study.arms
        for run in arm.runs
        for label, scan in run.lines.items()
        if (facts := named(run, scan)) is not None
    ]
    treatments = results.lines["batchnorm"].unique(maintain_order=True).to_list()[treatment : treatment + 1]
    shown = results.lines.filter((pl.col("data") == data) & pl.col("batchnorm").is_in(treatments))
    sound = results.runs.filter(pl.col("status") != "diverged").select("arm", "seed")
    shown = shown.join(sound, on=["arm", "seed"], how="semi", maintain_order="left")
    keys: dict[str, Any] = {"arm": pl.String, "seed": pl.Int64, "label": pl.String}
    facts_of = pl.DataFrame(rows, schema_overrides=keys) if rows else pl.DataFrame(schema=keys)
    return shown.join(facts_of, on=list(keys), how="inner", maintain_order="left")
