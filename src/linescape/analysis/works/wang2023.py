"""The length of the plateau of training error, and the last biases (Wang et al. 2023, arXiv 2210.01019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works import class_learnt_last, last_biases
from linescape.analysis.works.curves import curves_of, of_runs
from linescape.shape import Estimate, plateau_error

STRAIGHT = "straight"
EXPECTED: Mapping[tuple[str, str], Outcome] = {
    ("deep", STRAIGHT): Outcome.ABOVE,
    ("shallow", STRAIGHT): Outcome.BELOW,
    ("small-start", STRAIGHT): Outcome.ABOVE,
    ("no-last-bias", STRAIGHT): Outcome.BELOW,
    ("base", "homogeneous"): Outcome.BELOW,
}
"""The primary contrasts, declared before looking, and what the source says of each plateau against that of the base, or
of the homogeneous line's against that of the straight line of the same trainings."""

CLAIMS: Mapping[tuple[str, str], str] = {
    ("deep", STRAIGHT): "Deeper networks have longer plateaus.",
    ("shallow", STRAIGHT): "Shallower networks have shorter plateaus.",
    ("small-start", STRAIGHT): "Smaller starts have longer plateaus.",
    ("no-last-bias", STRAIGHT): "Without the last bias plateaus are shorter.",
    ("base", "homogeneous"): "On homogeneous lines plateaus are shorter.",
}
FINDING = "plateaus are longer with depth and smaller starts, and shorter without the last bias or on homogeneous lines"


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """What makes plateaus long; whether the gap of the last biases does; and whose bias is the largest."""
    runs = last_biases.by_run(results)
    return (_plateau(results, level), last_biases.answer(runs, level), class_learnt_last.answer(runs, level))


def _plateau(results: Results, level: float) -> Answer:
    """The plateau of training error of each arm, on the straight and on the homogeneous line.

    Straight lines are compared with those of the base by Welch's interval, homogeneous lines with the straight ones of
    the same trainings by a t interval of differences. Corrected intervals hold together for all of `EXPECTED`.

    Columns of `numbers`: arm, title, line, runs, plateau (share of the line with training error of 95 % of chance or
    more), plateau_low, plateau_high, difference, low, high, low_all, high_all, error (training error at the end, %).
    """
    lines = curves_of(results, "train", "error").with_columns(label=pl.col("label").replace("whole", STRAIGHT))
    chances = dict(results.runs.select("arm", "chance_error").iter_rows())
    plateaus = {
        (arm, label): runs.with_columns(value=_plateaus(lines, arm, label, chances[arm]))
        for (arm, label), runs in of_runs(lines, lambda _, errors: errors[-1])
        .rename({"value": "error"})
        .group_by(["arm", "label"], maintain_order=True)
    }
    wide = widened(level, len(EXPECTED))
    rows = []
    for (arm, label), runs in plateaus.items():
        row = {"arm": arm, "title": runs["title"][0], "line": label, "runs": runs.height}
        row |= columns(inference.bounded(inference.mean(runs["value"], level), 0.0, math.inf), "plateau", "plateau_")
        row |= columns(_difference(plateaus, arm, label, level), "difference")
        row |= for_all(_difference(plateaus, arm, label, wide)) | {"error": runs["error"].mean()}
        rows.append(row)
    compared = [key for key in EXPECTED if key in plateaus and _against(*key) in plateaus]
    primary = [row for row in rows if (row["arm"], row["line"]) in compared]
    outcomes = {f"{row['arm']}, {row['line']}": Outcome.of(row, "low_all", "high_all") for row in primary}
    held = [row for row in primary if outcomes[f"{row['arm']}, {row['line']}"] is EXPECTED[row["arm"], row["line"]]]
    facts = {
        "rows": rows,
        "primary": primary,
        "held": held,
        "contrary": [row for row in primary if row not in held and Outcome.of(row, "low_all", "high_all") in _CLEAR],
        "lines": lines,
        "runs": results.runs,
    }
    of_row = {(row["arm"], row["line"]): row for row in primary}
    claims = tuple(
        Claim.of(claim, "", "change of the plateau, share of the line", of_row.get(key), "difference", EXPECTED[key])
        for key, claim in CLAIMS.items()
    )
    return Answer("plateau", outcomes, pl.DataFrame(rows), facts, finding=FINDING, claims=claims)


_CLEAR = (Outcome.ABOVE, Outcome.BELOW)


def _plateaus(lines: pl.DataFrame, arm: str, label: str, chance: float) -> pl.Series:
    of_arm = lines.filter((pl.col("arm") == arm) & (pl.col("label") == label))
    return of_runs(of_arm, lambda alphas, errors: plateau_error(alphas, errors, chance))["value"]


def _difference(plateaus: Mapping[Any, pl.DataFrame], arm: str, label: str, level: float) -> Estimate:
    """From the base's straight line, or of the homogeneous line from the straight one of the same training."""
    values = plateaus[arm, label]
    against = plateaus.get(_against(arm, label), values.clear())
    if label == STRAIGHT:
        return inference.difference(values["value"], against["value"], level)
    pairs = values.join(against, on="seed", suffix="_straight")
    return inference.mean(pairs["value"] - pairs["value_straight"], level)


def _against(arm: str, label: str) -> tuple[str, str]:
    """The arm and line that a line of an arm is compared with."""
    return ("base" if label == STRAIGHT else arm, STRAIGHT)
