"""Barriers of trained curves beside those of lines (Garipov et al. 2018, arXiv 1802.10026)."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs
from linescape.shape import barrier_above_mean
from linescape.studies.study import PlaneScan
from linescape.studies.works.garipov2018 import BEZIER, CHAIN, LINE

FINDING = "the loss stays low along a trained curve, while it is high on the line between the same networks"
PRIMARY = BEZIER
"""The kind of curve that decides the claim, chosen before looking."""


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer: by how much the barrier of each kind of curve is lower than that of the line, pair by pair.

    A barrier is the highest test loss on a path minus the mean of both ends, with statistics of BatchNorm re-estimated
    at each position. Intervals are t intervals over pairs, which share no network; that of `PRIMARY` is uncorrected.

    Columns of `numbers`: kind, pairs, lower (how many pairs have a lower barrier on the curve), line, curve (mean
    barriers, nats), difference (line minus curve), low, high, low_all, high_all (corrected for the other kinds),
    line_train, curve_train (the same of training loss), line_error, curve_error (of test error, points). Outcomes: of
    each kind of curve, where the difference lies relative to 0.
    """
    barriers = _barriers(results)
    line, kinds = barriers.filter(label=LINE), (BEZIER, CHAIN)
    rows = []
    for kind in kinds:
        pairs = line.join(barriers.filter(label=kind), on=["arm", "seed"], suffix="_of_curve", maintain_order="left")
        if pairs.height:
            rows.append(_row(kind, pairs, level, level if kind == PRIMARY else widened(level, len(kinds) - 1)))
    outcomes = {row["kind"]: Outcome.of(row, "low_all", "high_all") for row in rows}
    deciding = next((row for row in rows if row["kind"] == PRIMARY), None)
    claim = Claim.of(
        "A trained Bezier curve has a lower barrier than the line.",
        "",
        "barrier of the line − of the curve, nats of test loss",
        deciding,
        "difference",
        Outcome.ABOVE,
    )
    shown = curves_of(results, "test", "cross_entropy").filter(pl.col("label").is_in([LINE, *kinds]))
    planes = results.of(PlaneScan)
    facts = {"rows": rows, "lines": shown, "runs": results.runs, "planes": planes}
    pairs_measured = deciding["pairs"] if deciding else 0
    return (
        Answer("curves", outcomes, pl.DataFrame(rows), facts, finding=FINDING, seeds=pairs_measured, claims=(claim,)),
    )


def _barriers(results: Results) -> pl.DataFrame:
    """A row for each pair and path: arm, seed, label, test, train (nats) and error (points)."""
    keys = ["arm", "seed", "label"]
    of_test, of_train, of_error = (
        of_runs(curves_of(results, data, measure), barrier_above_mean).select(*keys, pl.col("value").alias(name))
        for data, measure, name in (
            ("test", "cross_entropy", "test"),
            ("train", "cross_entropy", "train"),
            ("test", "error", "error"),
        )
    )
    joined = of_test.join(of_train, on=keys, maintain_order="left")
    return joined.join(of_error, on=keys, maintain_order="left")


def _row(kind: str, pairs: pl.DataFrame, level: float, wide: float) -> dict[str, Any]:
    differences = pairs["test"] - pairs["test_of_curve"]
    return {
        "kind": kind,
        "pairs": pairs.height,
        "lower": int((differences.to_numpy() > 0).sum()),
        "line": pairs["test"].mean(),
        "curve": pairs["test_of_curve"].mean(),
        **columns(inference.mean(differences, level), "difference"),
        **for_all(inference.mean(differences, wide)),
        **{f"line_{of}": pairs[of].mean() for of in ("train", "error")},
        **{f"curve_{of}": pairs[f"{of}_of_curve"].mean() for of in ("train", "error")},
    }
