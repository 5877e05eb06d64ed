"""What the pages of a study and of a probe both say: what numbers mean, and how they were made."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from markupsafe import Markup

from linescape.report import page
from linescape.report.page import Column
from linescape.shape.definitions import DEFINITIONS, DISTANCES, LAYERWISE

_TREATMENTS = {
    "interpolate": "BatchNorm, interpolate: running statistics move along the line with the weights.",
    "recalibrate": "BatchNorm, recalibrate: running statistics are measured anew on training batches at every α.",
    "start": "BatchNorm, start: running statistics of the start all along.",
    "end": "BatchNorm, end: running statistics of the end all along.",
    "batch": "BatchNorm, batch: statistics of each batch that is measured.",
}


def definitions() -> Markup:
    """The table of what each number means."""
    rows = [
        {"label": d.label, "formula": d.formula, "unit": d.unit, "meaning": d.meaning, "source": d.source}
        for d in (*DEFINITIONS.values(), LAYERWISE["start_above_end"], *DISTANCES.values())
    ]
    columns = [
        Column(name, title)
        for name, title in (
            ("label", "number"),
            ("formula", "formula"),
            ("unit", "unit"),
            ("meaning", "what it is"),
            ("source", "source"),
        )
    ]
    return page.table(pl.DataFrame(rows), columns, "L(α): mean loss over the test examples at α; K: number of classes.")


def provenance(walks: pl.DataFrame, runs: pl.DataFrame | None = None) -> Markup:
    """The table of versions, devices, examples and time."""
    rows = [
        {"what": words, "value": value}
        for words, value in (
            ("linescape", listed(walks["linescape"])),
            ("torch", listed(walks["torch"])),
            ("Python", listed(walks["python"])),
            ("device", listed(walks["device"])),
            ("precision of lines", listed(walks["dtype"])),
            ("precision of trainings", "" if runs is None else listed(runs["precision"])),
            ("BatchNorm statistics", listed(walks["batchnorm"])),
            ("positions on a line", span(walks["positions"])),
            ("test examples measured", span(walks["test_examples"])),
            ("training examples measured", span(walks["train_examples"])),
            ("seeds", "" if runs is None else listed(runs["seed"].sort())),
            ("time of trainings", "" if runs is None else duration(float(runs["seconds"].sum()))),
            ("time of lines", duration(float(walks["seconds"].sum()))),
        )
        if value
    ]
    frame = pl.DataFrame(rows, schema={"what": pl.String, "value": pl.String})
    return page.table(frame, [Column("what", ""), Column("value", "")])


def duration(seconds: float) -> str:
    """Seconds in words; empty for none."""
    if not seconds:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def treatments(names: Iterable[str]) -> list[str]:
    """A sentence for each treatment of BatchNorm statistics."""
    return [_TREATMENTS[name] for name in dict.fromkeys(names) if name in _TREATMENTS]


def listed(values: pl.Series) -> str:
    """The different values, in words."""
    return "; ".join(str(value) for value in values.drop_nulls().unique(maintain_order=True) if value != "")


def span(values: pl.Series) -> str:
    """Smallest to largest; empty for none."""
    found = sorted(set(values.drop_nulls().to_list()))
    if not found:
        return ""
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
