"""The section of a study's page that compares published with measured results."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.tables import Results
from linescape.report import figures, page
from linescape.report.page import Column, Folder
from linescape.report.text import caption
from linescape.studies.vlaar2022.published import SOURCE

_SETTING = [
    Column("setting", "published for", "once"),
    Column("differs", "differences here", "once"),
    Column("how", "how it was obtained", "once"),
]
ACCURACY = [
    Column("title", "arm"),
    Column("published", "published, %", "number"),
    Column("spread", "±", "number"),
    Column("n", "runs here", "number", 0),
    Column("mean", "measured, %", "number"),
    Column("low", "95 % interval", "interval", to="high"),
    Column("difference", "measured − published, points", "signed"),
    *_SETTING,
]
RANGE = [
    Column("title", "arm", "once"),
    Column("line", "line", "once"),
    Column("label", "statistic of the test loss"),
    Column("published_range", "published, 10 runs"),
    Column("n", "runs here", "number", 0),
    Column("low", "measured", "interval", 3, to="high"),
    *_SETTING,
]
CURVE = [
    Column("title", "arm", "once"),
    Column("label", "line"),
    Column("positions", "published positions", "number", 0),
    Column("n", "runs here", "number", 0),
    Column("rmse", "RMSE, nats", "number", 3),
    Column("largest_gap", "largest gap, nats", "number", 3),
    *_SETTING,
]


def published_section(
    results: Results, lines: pl.DataFrame, means: pl.DataFrame, output: Folder
) -> dict[str, Any] | None:
    """What the template shows, or None where nothing is published about this study's arms on their data sets.

    Args:
        results: of the study.
        lines: `Results.lines` on test data, under one BatchNorm treatment.
        means: `tables.means` of them over the runs that did not diverge.
        output: the folder of the page.
    """
    accuracies, ranges, points = (
        tables.published_accuracies(results),
        tables.published_ranges(results),
        tables.published_points(results),
    )
    if not (accuracies.height or ranges.height or points.height):
        return None
    for name, frame in (("accuracies", accuracies), ("ranges", ranges), ("points", points)):
        output.table(f"published-{name}", frame)
    shown = ranges.with_columns(
        published_range=pl.when(pl.col("published_low").is_null())
        .then(pl.format("up to {}", "published_high"))
        .otherwise(pl.format("{} to {}", "published_low", "published_high"))
    )
    curves = points.group_by(["arm", "label"], maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("positions"),
        pl.col("title", "n", "rmse", "largest_gap", "setting", "differs", "how").first(),
    )
    drawings = []
    for (arm, title), of_arm in points.group_by(["arm", "title"], maintain_order=True):
        single, mean = (frame.filter(pl.col("arm") == arm) for frame in (lines, means))
        if single.height:
            figure = figures.published_lines(single, mean, results.runs, of_arm)
            words = caption("published_lines", setting=of_arm["setting"][0], how=of_arm["how"][0])
            drawings.append((str(title), output.draw(f"published-{arm}", figure, words)))
    return {
        "source": SOURCE,
        "accuracies": page.table(accuracies, ACCURACY) if accuracies.height else None,
        "ranges": page.table(shown, RANGE) if ranges.height else None,
        "curves": page.table(curves, CURVE, caption("published_curves")) if curves.height else None,
        "drawings": drawings,
    }
