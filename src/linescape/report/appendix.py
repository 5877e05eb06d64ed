"""What every page ends with: definitions of the statistics, and provenance."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from markupsafe import Markup

from linescape.report import page
from linescape.report.page import Column
from linescape.report.text import caption
from linescape.shape.definitions import DEFINITIONS, DISTANCES, LAYERWISE
from linescape.studies.planning import duration

_TREATMENTS = ("interpolate", "recalibrate", "start", "end", "batch")


def definitions() -> Markup:
    """The table of definitions."""
    rows = [
        {"label": d.label, "formula": d.formula, "unit": d.unit, "meaning": d.meaning, "source": d.source}
        for d in (*DEFINITIONS.values(), LAYERWISE["start_above_end"], *DISTANCES.values())
    ]
    columns = [
        Column(name, title)
        for name, title in (
            ("label", "statistic"),
            ("formula", "formula"),
            ("unit", "unit"),
            ("meaning", "meaning"),
            ("source", "source"),
        )
    ]
    return page.table(pl.DataFrame(rows), columns, caption("definitions"))


def provenance(walks: pl.DataFrame, runs: pl.DataFrame | None = None) -> Markup:
    """The table of versions, devices, examples and time.

    `walks` has a row for each line (as `tables.Results.walks`), `runs` one for each training (`tables.Results.runs`).
    """
    rows = [
        {"what": words, "value": value}
        for words, value in (
            ("linescape", listed(walks["linescape"])),
            ("torch", listed(walks["torch"])),
            ("Python", listed(walks["python"])),
            ("device", listed(walks["device"])),
            ("precision on lines", listed(walks["dtype"])),
            ("precision in training", "" if runs is None else listed(runs["precision"])),
            ("BatchNorm statistics", listed(walks["batchnorm"])),
            ("positions on a line", span(walks["positions"])),
            ("test examples evaluated", span(walks["test_examples"])),
            ("training examples evaluated", span(walks["train_examples"])),
            ("seeds", "" if runs is None else listed(runs["seed"].sort())),
            ("training time", "" if runs is None else compute_time(float(runs["seconds"].sum()))),
            ("time for lines", compute_time(float(walks["seconds"].sum()))),
        )
        if value
    ]
    frame = pl.DataFrame(rows, schema={"what": pl.String, "value": pl.String})
    return page.table(frame, [Column("what", ""), Column("value", "")])


def compute_time(seconds: float) -> str:
    """Seconds in a suitable unit; empty for none."""
    return duration(seconds) if seconds else ""


def treatments(names: Iterable[str]) -> list[str]:
    """A sentence for each treatment of BatchNorm statistics."""
    return [caption("batchnorm", treatment=name) for name in dict.fromkeys(names) if name in _TREATMENTS]


def listed(values: pl.Series) -> str:
    """The distinct values, separated by semicolons."""
    return "; ".join(str(value) for value in values.drop_nulls().unique(maintain_order=True) if value != "")


def span(values: pl.Series) -> str:
    """Smallest to largest; empty for none."""
    distinct = sorted(set(values.drop_nulls().to_list()))
    if not distinct:
        return ""
    return f"{distinct[0]:,}" if len(distinct) == 1 else f"{distinct[0]:,} to {distinct[-1]:,}"
