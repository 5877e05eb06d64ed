"""The page that compares the works: each one's claim and number beside what was found at one scale."""

from __future__ import annotations

import shlex
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import polars as pl

from linescape import atomic
from linescape.analysis.answers import Verdict
from linescape.analysis.comparison import compare
from linescape.analysis.tables import Source
from linescape.report import page
from linescape.report.page import Column, Folder
from linescape.report.text import caption
from linescape.studies.vlaar2022 import SCALES

COLUMNS = [
    Column("source", "work", "once"),
    Column("claim", "claim"),
    Column("published", "published"),
    Column("verdict", "here"),
    Column("value", "value", "number"),
    Column("low", "95 % interval", "interval", to="high"),
    Column("measured", "of what"),
    Column("done", "runs done", "once"),
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
    output = Folder(folder)
    found = compare(scale, store)
    frame = pl.DataFrame(
        [
            {
                "work": work.study.name,
                "source": work.study.source.rsplit(", ", 1)[0],
                **{name: getattr(claim, name) for name in ("claim", "published", "measured")},
                "verdict": str(claim.verdict),
                **{
                    name: None if claim.verdict is Verdict.NOT_MEASURED else getattr(claim, name)
                    for name in ("value", "low", "high")
                },
                "done": f"{work.done} of {work.runs}",
            }
            for work in found
            for claim in work.claims
        ],
        infer_schema_length=None,
    ).with_columns(pl.col("value", "low", "high").cast(pl.Float64))
    output.table("claims", frame)
    atomic.write(output.root / "claims.json", page.as_json(frame.to_dicts()))
    counts = Counter(frame["verdict"])
    base = SCALES[scale].base
    return output.page(
        "comparison.html",
        {
            "version": version("linescape"),
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
