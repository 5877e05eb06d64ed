"""Lines to other ends than a training's own: noisy, permuted, another training's, the mean of several."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs, share, undefined
from linescape.shape import min_delta

PRIMARY = "another training's end"
"""The line whose rise beside that of the own line is the primary contrast, declared before looking."""

FINDING = "lines to perturbed and permuted ends and to other optima were measured; its numbers are not known here"


def answer(results: Results, group: str, least: float, level: float) -> Answer:
    """How far lines to other ends rise, beside the line to the training's own end.

    Each replicate has trainings of its own, so replicates are independent. Differences of the rise from the own line
    have t intervals over replicates; that of `PRIMARY` is not corrected, the others for their number.

    Columns of `numbers`: line (its label), runs, monotone (a rise of at most `least`), share_low and share_high (%, an
    interval of the share), rise (mean min Delta of training loss, nats), end (mean loss at alpha = 1), difference (of
    the rise from that of ``whole``), low, high, low_all, high_all.

    Args:
        results: of the study.
        group: of the arm whose lines these are.
        least: the largest rise of a line that is monotone, nats.
        level: of the intervals.
    """
    arms = [arm.name for arm in results.study.arms if arm.group == group]
    lines = curves_of(results, "train", "cross_entropy").filter(pl.col("arm").is_in(arms))
    rises, ends = of_runs(lines, min_delta), of_runs(lines, lambda _, losses: losses[-1])
    own = rises.filter(pl.col("label") == "whole").select("seed", own="value")
    labels = lines["label"].unique(maintain_order=True).to_list()
    rows = [_row(label, rises, ends, own, least, widened(level, len(labels) - 2), level) for label in labels]
    primary = next((row for row in rows if row["line"] == PRIMARY), None)
    facts = {
        "rows": rows,
        "own": next((row for row in rows if row["line"] == "whole"), None),
        "primary": primary,
        "undefined": undefined(rises["value"]),
        "least": least,
        "of_runs": rises.select(title=pl.col("label").replace("whole", "own end"), start=pl.lit("rise"), value="value"),
    }
    return Answer("other-ends", {PRIMARY: Outcome.of(primary)}, pl.DataFrame(rows), facts, finding=FINDING)


def _row(
    label: str, rises: pl.DataFrame, ends: pl.DataFrame, own: pl.DataFrame, least: float, wide: float, level: float
) -> dict[str, Any]:
    """One line of all replicates; `own` has the rise of each one's own line, `wide` is the corrected level."""
    rises, ends = (of.filter(pl.col("label") == label) for of in (rises, ends))
    monotone = int((rises["value"] <= least).sum())
    row: dict[str, Any] = {"line": label, "runs": rises.height, "monotone": monotone}
    row |= share(monotone, rises.height, level)
    row |= {"rise": rises["value"].mean(), "end": ends["value"].mean()}
    pairs = rises.join(own, on="seed")
    apart = pairs["value"] - pairs["own"]
    corrected = inference.mean(apart, level if label == PRIMARY else wide)
    return row | columns(inference.mean(apart, level), "difference") | for_all(corrected)
