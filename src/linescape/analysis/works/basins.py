"""Whether two networks lie in one basin: the line between them, and beyond both (Neyshabur et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs
from linescape.shape import TOLERANCE
from linescape.shape.statistics import chord, segment
from linescape.studies.works.neyshabur2020 import BETWEEN, BEYOND, KINDS, OUTSIDE, TUNED

EPSILON = TOLERANCE
"""Nats of test loss by which the line may lie off its chord in one basin: the rise that a line may have that counts as
free of barriers elsewhere in this library. The source's own bound is not known here."""

DELTA = 2 * EPSILON
"""Nats by which the loss has to rise outside: more than two positions inside may differ from each other where the chord
is level, so that inside and outside cannot be confused. Our choice too."""

PRIMARY = TUNED
"""Declared before looking: two networks fine-tuned at a fifth of the rate are what the source's claim is about."""

FINDING = "two networks fine-tuned from one lie in one basin; from scratch they do not (its bounds are not known here)"


def deviation_from_chord(alphas: ArrayLike, losses: ArrayLike) -> float:
    """``max |L(a) - [(1-a) L(0) + a L(1)]|`` over 0 <= a <= 1: the smallest epsilon for which the line is in a basin.

    Unlike `barrier_above_chord` it counts what is below the chord too. NaN if a loss is, or an end is infinite.
    """
    alphas, losses = segment(alphas, losses)
    with np.errstate(invalid="ignore"):
        return float(np.abs(losses - chord(alphas, losses)).max())


def rises_outside(alphas: ArrayLike, losses: ArrayLike) -> tuple[float, float]:
    """The loss at the first position minus that at 0, and the loss at the last minus that at 1: on leaving the line."""
    alphas, losses = np.asarray(alphas, np.float64), np.asarray(losses, np.float64)
    _, ends = segment(alphas, losses)
    with np.errstate(invalid="ignore"):
        return float(losses[0] - ends[0]), float(losses[-1] - ends[-1])


def one_basin(results: Results, level: float) -> Answer:
    """How far the line of each kind of pair lies off its chord, and how much the loss rises beyond both networks.

    A kind lies in one basin if the whole interval of the deviation is below `EPSILON` and that of the rise above
    `DELTA`; in none if one of them is wholly on the other side. A pair's rise is the smaller of those beyond its two
    networks, `OUTSIDE` lengths of the line away. BatchNorm's statistics are estimated anew at each position.

    Columns of `numbers`, in nats of test loss unless something else is said: arm, title, runs (pairs), epsilon (mean
    over pairs of `deviation_from_chord`), low, high, low_all, high_all (corrected for both bounds, and for the kinds
    but `PRIMARY`), rise (mean), rise_low, rise_high, rise_low_all, rise_high_all, first, second (mean rise beyond each
    network), interpolated, interpolated_low, interpolated_high (epsilon on the line whose statistics move with the
    weights, which has other positions), train_epsilon, train_rise (of training loss).
    """
    pairs, lines = {data: _pairs(results, data) for data in ("test", "train")}, curves_of(results, "test")
    rows = [
        _row(pairs, arm.name, arm.title, level)
        for arm in results.study.arms
        if arm.name in KINDS and pairs["test"].filter(arm=arm.name).height
    ]
    verdicts = {row["arm"]: verdict(row) for row in rows}
    facts = {
        "rows": rows,
        "verdict_of": verdicts,
        "primary": PRIMARY,
        "epsilon": EPSILON,
        "delta": DELTA,
        "outside": OUTSIDE,
        "lines": lines.filter(pl.col("label") == BEYOND),
        "runs": results.runs,
    }
    outcomes = {PRIMARY: verdicts.get(PRIMARY, Outcome.NOT_MEASURED)}
    seeds = max((row["runs"] for row in rows), default=0)
    numbers = pl.DataFrame(rows, infer_schema_length=None)
    return Answer("basins", outcomes, numbers, facts, finding=FINDING, seeds=seeds, claims=_claims(rows))


def verdict(row: Mapping[str, Any]) -> Outcome:
    """`BELOW` where a kind of pair lies in one basin, `ABOVE` where it does not."""
    inside = Outcome.of(row, "low_all", "high_all", EPSILON)
    outside = Outcome.of(row, "rise_low_all", "rise_high_all", DELTA)
    if inside is Outcome.ABOVE or outside is Outcome.BELOW:
        return Outcome.ABOVE
    if inside is Outcome.BELOW and outside is Outcome.ABOVE:
        return Outcome.BELOW
    return Outcome.NO_INTERVAL if Outcome.NO_INTERVAL in (inside, outside) else Outcome.INCONCLUSIVE


def _pairs(results: Results, data: str) -> pl.DataFrame:
    """A row for each pair: arm, seed, epsilon, first, second, rise (the smaller of both), interpolated."""
    lines = curves_of(results, data, "cross_entropy")
    beyond = lines.filter(pl.col("label") == BEYOND)
    named = {
        "epsilon": (beyond, deviation_from_chord),
        "first": (beyond, lambda alphas, losses: rises_outside(alphas, losses)[0]),
        "second": (beyond, lambda alphas, losses: rises_outside(alphas, losses)[1]),
        "interpolated": (lines.filter(pl.col("label") == BETWEEN), deviation_from_chord),
    }
    pairs = of_runs(beyond, deviation_from_chord).select("arm", "seed")
    for name, (of, statistic) in named.items():
        values = of_runs(of, statistic).select("arm", "seed", pl.col("value").alias(name))
        pairs = pairs.join(values, on=["arm", "seed"], how="left", maintain_order="left")
    return pairs.with_columns(rise=np.minimum(pairs["first"].to_numpy(), pairs["second"].to_numpy()))


def _row(pairs: Mapping[str, pl.DataFrame], arm: str, title: str, level: float) -> dict[str, Any]:
    test, train = (pairs[data].filter(arm=arm) for data in ("test", "train"))
    wide = widened(level, 2 if arm == PRIMARY else 2 * len(KINDS))

    def height(name: str, of: float) -> Any:
        return inference.bounded(inference.mean(test[name].drop_nulls(), of), 0.0, math.inf)

    return {
        "arm": arm,
        "title": title,
        "runs": test.height,
        **columns(height("epsilon", level), "epsilon"),
        **for_all(height("epsilon", wide)),
        **columns(inference.mean(test["rise"], level), "rise", "rise_"),
        **for_all(inference.mean(test["rise"], wide), "rise_"),
        "first": test["first"].mean(),
        "second": test["second"].mean(),
        **columns(height("interpolated", level), "interpolated", "interpolated_"),
        "train_epsilon": train["epsilon"].mean(),
        "train_rise": train["rise"].mean(),
    }


def _claims(rows: list[dict[str, Any]]) -> tuple[Claim, ...]:
    by_arm = {row["arm"]: row for row in rows}
    tuned, random = by_arm.get(PRIMARY), by_arm.get("random-random")
    return (
        Claim.of(
            "Two networks fine-tuned from one lie in one basin.",
            "",
            f"deviation from the chord, nats of test loss (less than {EPSILON:g}, and a rise of more than {DELTA:g} "
            "beyond both)",
            tuned,
            "epsilon",
            Outcome.BELOW,
            EPSILON,
            outcome=verdict(tuned) if tuned else None,
        ),
        Claim.of(
            "Two networks from scratch lie in no common basin.",
            "",
            f"deviation from the chord, nats of test loss (more than {EPSILON:g})",
            random,
            "epsilon",
            Outcome.ABOVE,
            EPSILON,
        ),
    )
