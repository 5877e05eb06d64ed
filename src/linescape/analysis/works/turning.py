"""Whether the lines of a grid along which logits turn more are those that are not monotone (Lucas et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs, undefined
from linescape.shape import barrier_above_chord
from linescape.studies.study import Turning

QUANTITIES: Mapping[str, str] = {
    "gauss_length": "Gauss length",
    "angles": "sum of the angles between velocities",
    "path_length": "length of the way of the logits",
}
FINDING = (
    "lines along which logits turn little are monotone, shown for the squared error (not checked against its text)"
)
_LINE: dict[str, Any] = {
    **dict.fromkeys(("arm", "title"), pl.String),
    "seed": pl.Int64,
    "label": pl.String,
    **dict.fromkeys(("rise", "barrier", *QUANTITIES), pl.Float64),
}


def answer(results: Results, kept: pl.DataFrame, labels: Mapping[str, str], least: float, level: float) -> Answer:
    """Whether Gauss length is larger on lines that are not monotone.

    The primary contrasts, declared before looking, are the probabilities that of two lines that is not monotone which
    has the larger Gauss length, one for each kind of line, corrected for their number; else intervals are uncorrected.
    Lines on which logits are not finite have no Gauss length, and are counted apart.

    Columns of `numbers`: lines (their kind), quantity (of `QUANTITIES`, means over examples), count, not_monotone (a
    rise above `least`), monotone_mean and other_mean (of the quantity), auc, low, high, low_all, high_all, rise,
    rise_low, rise_high (rank correlation with the largest rise), barrier, barrier_low and barrier_high (with
    the barrier above the chord).

    Args:
        results: of the study.
        kept: the runs that are counted: arm, title, seed, and the largest rise of each line under its label.
        labels: label of a line -> column of `kept` with its largest rise, nats.
        least: the largest rise of a line that is monotone, nats.
        level: of the intervals.
    """
    every = _lines(results, kept, labels)
    lines = every.filter(pl.all_horizontal(pl.col(*QUANTITIES).is_finite()))
    wide = widened(level, len(labels))
    rows = [
        row
        for label in labels
        for name in QUANTITIES
        if (row := _row(lines.filter(pl.col("label") == label), label, name, least, (level, wide)))["count"]
    ]
    primary = [row for row in rows if row["quantity"] == "gauss_length"]
    outcomes = {row["lines"]: Outcome.of(row, "low_all", "high_all", 0.5) for row in primary}
    kinds = {label: "from their own start" if label == "whole" else label for label in labels}
    claims = tuple(
        Claim.of(
            f"Gauss length is larger on lines that are not monotone ({kind}).",
            "",
            "probability that of two lines the one that is not monotone has the larger Gauss length",
            next((row for row in primary if row["lines"] == label), None),
            "auc",
            Outcome.ABOVE,
            0.5,
        )
        for label, kind in kinds.items()
    )
    facts = {"rows": rows, "primary": primary, "points": lines, "least": least, "quantities": QUANTITIES}
    facts |= {"undefined": undefined(lines["rise"]), "not_finite": every.height - lines.height}
    name = "gauss-length"
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDING, seeds=1, claims=claims)


def _lines(results: Results, kept: pl.DataFrame, labels: Mapping[str, str]) -> pl.DataFrame:
    """A row for each line of the counted runs along which logits were followed."""
    curves = curves_of(results, "train", "cross_entropy")
    barriers = of_runs(curves.filter(pl.col("label").is_in(list(labels))), barrier_above_chord)
    heights = {(arm, seed, label): value for arm, seed, label, value in barriers.drop("title").iter_rows()}
    rows = []
    for row in kept.iter_rows(named=True):
        for label, column in labels.items():
            key = row["arm"], row["seed"], label
            if key in results.of(Turning) and key in heights:
                found = results.of(Turning)[key]
                measured = (found.lengths, found.angles, found.path_lengths)
                means = dict(zip(QUANTITIES, (float(values.mean()) for values in measured), strict=True))
                named = {name: row[name] for name in ("arm", "title", "seed")} | {"label": label}
                rows.append(named | {"rise": row[column], "barrier": heights[key]} | means)
    return pl.DataFrame(rows, schema=_LINE)


def _row(lines: pl.DataFrame, label: str, name: str, least: float, levels: tuple[float, float]) -> dict[str, Any]:
    """A quantity of the lines of one kind; the runs are the unit of the intervals."""
    rising = lines["rise"] > least
    units = [f"{arm} {seed}" for arm, seed in lines.select("arm", "seed").iter_rows()]
    row = {"lines": label, "quantity": name, "count": lines.height, "not_monotone": int(rising.sum())}
    row |= {"monotone_mean": lines.filter(~rising)[name].mean(), "other_mean": lines.filter(rising)[name].mean()}
    own, wide = (inference.auc(lines[name], rising, units, level) for level in levels)
    row |= columns(own, "auc") | for_all(wide)
    for other in ("rise", "barrier"):
        related = inference.rank_correlation(lines[name], lines[other], units, level=levels[0])
        row |= columns(related, other, f"{other}_")
    return row
