"""Whether pruned networks match the full one where copies are stable (Frankle et al. 2020, arXiv 1912.05671)."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns
from linescape.analysis.tables import Results
from linescape.studies.study import Arm
from linescape.studies.works.frankle2020lmc import EXCHANGED, PRUNED

FINDING = (
    "at extreme sparsity, networks found by iterative magnitude pruning match the full one only where they are stable"
)


def answer(results: Results, pairs: pl.DataFrame, threshold: float, level: float) -> Answer:
    """The instability of pruned networks, and what they lose, against the step that they are rewound to.

    Args:
        results: of the study.
        pairs: a row for each pair of copies: arm, seed, instability, error (the mean of both ends).
        threshold: the instability below which copies are called stable.
        level: probability of an interval.

    A run's excess is the mean test error of its copies minus that of the full network's copies from the same step and
    seed. The one contrast, declared before looking, is the rank correlation of instability and excess over all runs,
    arms being the units. Other intervals are t intervals over runs, uncorrected. Rewinding later may lower both, so
    the correlation is no evidence of a cause.

    Columns of `numbers`: arm, title, group, step, density (share of the weights left), runs, instability (points of
    test error), low, high, error (mean of the copies, %), excess (points), excess_low, excess_high. Outcomes: of the
    correlation, and of each arm, where its instability lies relative to `threshold`.
    """
    arms = [arm for arm in results.study.arms if arm.group in (PRUNED, EXCHANGED)]
    runs = _of_runs(pairs, arms)
    rows = [_row(arm, of_arm, level) for arm in arms if (of_arm := runs.filter(arm=arm.name)).height]
    related = inference.rank_correlation(runs["instability"], runs["excess"], runs["arm"].to_list(), level=level)
    relation = columns(related, "correlation")
    outcomes = {"together": Outcome.of(relation if rows else None)}
    outcomes |= {row["arm"]: Outcome.of(row, null=threshold) for row in rows}
    facts = {
        "groups": [
            {"group": group, "rows": [row for row in rows if row["group"] == group]}
            for group in dict.fromkeys(row["group"] for row in rows)
        ],
        "relation": relation,
        "threshold": threshold,
        "of_runs": runs,
        "units": len(rows),
        "fewest": inference.FEWEST_ARMS,
    }
    claim = Claim.of(
        "Pruned networks lose the less against the full one the more stable their copies are.",
        "they match it only where they are stable (ResNet-20 and VGG-16 on CIFAR-10)",
        "rank correlation over arms of instability and test error above the full network's",
        relation if rows else None,
        "correlation",
        Outcome.ABOVE,
        ends=("low", "high"),
    )
    return Answer("pruned-instability", outcomes, pl.DataFrame(rows), facts, finding=FINDING, claims=(claim,))


def _of_runs(pairs: pl.DataFrame, arms: list[Arm]) -> pl.DataFrame:
    """A row for each run of these arms whose full network is measured too: arm, title, seed, instability, excess."""
    means = pairs.group_by("arm", "seed", maintain_order=True).agg(pl.col("instability", "error").mean())
    named = {name: [getattr(arm, name) for arm in arms] for name in ("title", "group", "baseline")}
    of_arms = pl.DataFrame(
        {"arm": [arm.name for arm in arms], **named}, schema=dict.fromkeys(("arm", *named), pl.String)
    )
    full = means.select(baseline="arm", seed="seed", full="error")
    both = means.join(of_arms, on="arm", maintain_order="left").join(
        full, on=["baseline", "seed"], maintain_order="left"
    )
    return both.with_columns(excess=pl.col("error") - pl.col("full"))


def _row(arm: Arm, runs: pl.DataFrame, level: float) -> dict[str, Any]:
    recipe = arm.runs[0].recipe
    instability = inference.bounded(inference.mean(runs["instability"], level), 0.0, 100.0)
    return {
        "arm": arm.name,
        "title": arm.title,
        "group": arm.group,
        "step": getattr(recipe.init, "number", None) or 0,
        "density": getattr(recipe.trains, "density", 1.0),
        "runs": runs.height,
        "instability": instability.value,
        "low": instability.low,
        "high": instability.high,
        "error": runs["error"].mean(),
        **columns(inference.mean(runs["excess"], level), "excess", "excess_"),
    }
