"""Lines between networks with LoRA (Hu et al. 2021, arXiv 2106.09685) in the factors and in merged weights."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs
from linescape.shape import barrier_above_mean
from linescape.studies.works.hu2021 import BASE, FACTORS, MERGED, OWN_MERGED, RANK, SAME_DRAW

FINDING = "no claim about lines between networks with LoRA"
PRIMARY = BASE
"""The arm whose contrast is not corrected, chosen before looking."""
_KEYS = ["arm", "title", "seed"]


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer: by how much the barrier in the factors is higher than that in merged weights, pair by pair.

    A barrier is the highest test loss on the line between the two of a pair minus the mean of both ends. Intervals are
    t intervals over pairs, each of which has its own pre-training. That of `PRIMARY` is uncorrected; the other arms'
    differences, and what one draw of A and of the head changes, are corrected for each other. The two lines
    from the start of a fine-tuning to its end are compared by the mean of their difference over positions, with an
    uncorrected interval.

    Columns of `numbers`, a row for each arm: arm, title, pairs, factors, merged (mean barriers, nats), difference
    (factors minus merged), low, high, low_all, high_all, factors_error, merged_error (the same barriers of test error,
    points), apart (distance of the two middles as a share of the length of the line in merged weights, see
    `geometry.merged.Merged`), apart_least and apart_most (of the pairs), ends (mean test error of both ends, %), own
    (test loss on the line from the own start in the factors minus that in merged weights, mean over positions, nats),
    own_low, own_high. Where all weights are trained, `factors` is of the line between them, and what compares is null.
    Outcomes: of each arm, where the difference lies relative to 0; `SAME_DRAW`, "less", of the difference of `PRIMARY`
    minus that of the arm with one draw.
    """
    pairs = pairs_of(results)
    arms = {arm.name for arm in results.study.arms if any(MERGED in run.lines for run in arm.runs)}
    wide = widened(level, len(arms - {PRIMARY}) + len(arms & {SAME_DRAW}))
    rows = [
        _row(of_arm, level, level if arm == PRIMARY else wide)
        for (arm,), of_arm in pairs.group_by(["arm"], maintain_order=True)
    ]
    compared = [row for row in rows if row["difference"] is not None]
    draw = _of_draw(pairs.drop_nulls("merged"), wide)
    outcomes = {row["arm"]: Outcome.of(row, "low_all", "high_all") for row in compared}
    if draw:
        outcomes["less"] = Outcome.of(draw, "low_all", "high_all")
    primary = next((row for row in compared if row["arm"] == PRIMARY), None)
    facts = {
        "rows": compared,
        "primary": primary,
        "whole": [row for row in rows if row not in compared],
        "draw": draw,
        "rank": RANK,
        "lines": curves_of(results, "test", "cross_entropy").filter(pl.col("label").is_in([FACTORS, MERGED])),
        "runs": results.runs,
    }
    numbers = pl.DataFrame(rows, infer_schema_length=None)
    pairs_measured = primary["pairs"] if primary else 0
    return (Answer("low-rank-lines", outcomes, numbers, facts, finding=FINDING, seeds=pairs_measured),)


def pairs_of(results: Results) -> pl.DataFrame:
    """A row for each pair: arm, title, seed, factors, merged, factors_error, merged_error, ends, own and apart."""
    loss, error = (curves_of(results, "test", measure) for measure in ("cross_entropy", "error"))
    barriers = {
        "factors": _barriers(loss, FACTORS),
        "merged": _barriers(loss, MERGED),
        "factors_error": _barriers(error, FACTORS),
        "merged_error": _barriers(error, MERGED),
        "ends": of_runs(error.filter(label=FACTORS), lambda _, means: (means[0] + means[-1]) / 2),
        "own": _apart_on_the_way(loss),
    }
    pairs = barriers["factors"].select(_KEYS)
    for name, values in barriers.items():
        named = values.select(*_KEYS, pl.col("value").alias(name))
        pairs = pairs.join(named, on=_KEYS, how="left", maintain_order="left")
    if not results.walks.height:
        return pairs.with_columns(apart=pl.lit(None, pl.Float64))
    apart = results.walks.filter(pl.col("label") == MERGED).select("arm", "seed", "apart")
    return pairs.join(apart, on=["arm", "seed"], how="left", maintain_order="left")


def _barriers(curves: pl.DataFrame, label: str) -> pl.DataFrame:
    return of_runs(curves.filter(label=label), barrier_above_mean)


def _apart_on_the_way(loss: pl.DataFrame) -> pl.DataFrame:
    """Of each fine-tuning's own line, the mean over positions of the loss in factors minus that in merged weights."""
    mean = {label: of_runs(loss.filter(label=label), lambda _, means: means.mean()) for label in ("whole", OWN_MERGED)}
    both = mean["whole"].join(mean[OWN_MERGED], on=_KEYS, suffix="_merged", maintain_order="left")
    return both.select(*_KEYS, value=pl.col("value") - pl.col("value_merged"))


def _row(pairs: pl.DataFrame, level: float, wide: float) -> dict[str, Any]:
    means = {name: pairs[name].mean() for name in ("factors", "factors_error", "ends")}
    row: dict[str, Any] = {"arm": pairs["arm"][0], "title": pairs["title"][0], "pairs": pairs.height, **means}
    both = pairs.drop_nulls("merged")
    if not both.height:
        return row | dict.fromkeys(_COMPARED)
    differences, own = both["factors"] - both["merged"], both["own"].drop_nulls()
    return {
        **row,
        "merged": both["merged"].mean(),
        **columns(inference.mean(differences, level), "difference"),
        **for_all(inference.mean(differences, wide)),
        "merged_error": both["merged_error"].mean(),
        "apart": both["apart"].mean(),
        "apart_least": both["apart"].min(),
        "apart_most": both["apart"].max(),
        **columns(inference.mean(own, level), "own", "own_"),
    }


_COMPARED = (
    *("merged", "difference", "low", "high", "low_all", "high_all", "merged_error"),
    *("apart", "apart_least", "apart_most", "own", "own_low", "own_high"),
)
"""Columns of what compares the two lines."""


def _of_draw(pairs: pl.DataFrame, level: float) -> dict[str, float]:
    """How much less the lines differ with one draw than with two, by pre-training; empty if not measured."""
    differing = {
        arm: pairs.filter(arm=arm).select("seed", value=pl.col("factors") - pl.col("merged"))
        for arm in (PRIMARY, SAME_DRAW)
    }
    both = differing[PRIMARY].join(differing[SAME_DRAW], on="seed", suffix="_same", maintain_order="left")
    if not both.height:
        return {}
    less = inference.mean(both["value"] - both["value_same"], level)
    return {"pairs": both.height, "less": less.value, "low_all": less.low, "high_all": less.high}
