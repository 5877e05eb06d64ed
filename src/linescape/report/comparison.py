"""The page that compares the works: each one's claim and number beside what was found at one scale."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from linescape import atomic
from linescape.analysis.answers import Claim, Verdict
from linescape.analysis.comparison import Work, compare
from linescape.analysis.tables import Source
from linescape.report import page
from linescape.report.exclusive import reserved
from linescape.report.page import Column, Folder
from linescape.report.text import caption, interval, legible
from linescape.studies.vlaar2022 import SCALES
from linescape.version import VERSION

COLUMNS = [
    Column("source", "work", "once"),
    Column("claim", "claim"),
    Column("verdict", "here"),
    Column("found", "value, 95 % interval"),
    Column("measured", "of what"),
    Column("published", "published"),
    Column("done", "complete runs", "once"),
]


def write(scale: str, store: Source, folder: str | Path, words: tuple[str, ...] = ()) -> Path:
    """Write the comparison at a scale: ``index.html``, ``claims.json`` and ``tables/claims.csv``.

    Args:
        scale: of the studies.
        store: with the results of any of them.
        folder: of the page.
        words: the options of a command that runs a study on this scale and store, as they are typed.

    Raises:
        StoreError: a result is damaged, or the folder cannot be written.
        RecipeError: there is no such scale.
    """
    with reserved(folder):
        output = Folder(folder)
        found = compare(scale, store)
        frame = pl.DataFrame([_row(work, claim) for work in found for claim in work.claims], infer_schema_length=None)
        frame = frame.with_columns(pl.col("value", "low", "high").cast(pl.Float64))
        output.table("claims", frame.drop("found"))
        atomic.write(output.root / "claims.json", page.as_json(frame.drop("found").to_dicts()))
        counts = Counter(frame["verdict"])
        base = SCALES[scale].base
        return output.page(
            "comparison.html",
            {
                "version": VERSION,
                "title": caption("comparison_title"),
                "scale": scale,
                "intro": caption("comparison", data=base.data.label, epochs=base.schedule.epochs),
                "facts": [("claims", frame.height), *((verdict, counts[verdict]) for verdict in map(str, Verdict))],
                "table": page.table(frame, COLUMNS),
                "method": caption("comparison_method"),
                "missing": [
                    (
                        work.study.source.rsplit(", ", 1)[0],
                        shlex.join(["linescape", "study", "run", work.study.name, *words]),
                    )
                    for work in found
                    if work.missing
                ],
            },
        )


def _source(work: Work) -> str:
    """Authors and year."""
    return work.study.source.rsplit(", ", 1)[0]


def _row(work: Work, claim: Claim) -> dict[str, Any]:
    missing = claim.verdict is Verdict.NOT_MEASURED
    largest = max((abs(end) for end in (claim.value, claim.low, claim.high) if math.isfinite(end)), default=1.0)
    digits = 1 if largest >= 10 else 2 if largest >= 0.1 else 4
    ends = interval(vars(claim), digits=digits).replace(" ", "\N{NO-BREAK SPACE}")
    found = f"{legible(claim.value, digits)} ({ends})"
    return {
        "work": work.study.name,
        "source": _source(work),
        "claim": claim.claim,
        "published": claim.published or "–",
        "verdict": str(claim.verdict),
        "found": "–" if missing else found,
        **{name: None if missing else getattr(claim, name) for name in ("value", "low", "high")},
        "measured": claim.measured,
        "done": f"{work.done} of {work.runs}",
    }
