"""Barriers between fine-tuned networks, and what pre-training is worth (Neyshabur et al. 2020, arXiv 2008.11687)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, in_order, leading, widened
from linescape.analysis.tables import Results
from linescape.analysis.works import basins, critical_in_transfer
from linescape.analysis.works.curves import curves_of
from linescape.recipe import Trained
from linescape.shape import barrier_above_chord
from linescape.studies.study import Arm
from linescape.studies.works.neyshabur2020 import BETWEEN

NONE = 2.0
"""Points of test error up to which there is no performance barrier. Frankle et al. 2020 use it; this source none."""

PRIMARY = ("finetuned-finetuned", "random-random")
"""Declared before looking: the barrier between two fine-tuned networks minus that between two from scratch."""

FINDING = "no performance barrier between two fine-tuned networks, but between two from scratch, or one of each"
SHUFFLED_FINDING = "some of what pre-training is worth remains on shuffled images: it comes from low-level statistics"


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """Four answers: the barrier of each kind of pair, whether a kind lies in one basin (`basins`), how critical modules
    are (`critical_in_transfer`), and by how much pre-training raises accuracy on shuffled images.

    A barrier is the highest test error above the line between both ends' errors, as the source's basins have it.
    The primary contrast is a permutation test; other intervals are t intervals, corrected for the kinds of pairs, but
    for checkpoints of pre-training, which are tested from the last back until one fails.

    Columns of `numbers` of the first: arm, title, epoch (of pre-training; null where it is not a checkpoint), runs,
    barrier (points), low, high, low_all, high_all, loss (the same of test loss, nats). Of the last: step (side of
    the blocks; 0 where nothing is shuffled), runs, finetuned, random (mean accuracy, %), difference, low, high,
    low_all, high_all.
    """
    return (
        _barriers(results, level),
        basins.one_basin(results, level),
        critical_in_transfer.modules_in_transfer(results, level),
        _worth(results, level),
    )


def _barriers(results: Results, level: float) -> Answer:
    between = curves_of(results, "test").filter(pl.col("label") == BETWEEN)
    heights = {
        measure: _heights(between.filter(pl.col("measure") == measure)) for measure in ("error", "cross_entropy")
    }
    arms = [arm for arm in results.study.arms if heights["error"].get(arm.name)]
    wide = widened(level, sum(_epoch(arm) is None for arm in arms))
    rows = [_row(arm, heights, level, wide) for arm in arms]
    tuned, random = (heights["error"].get(name, []) for name in PRIMARY)
    primary = columns(inference.permutation_difference(tuned, random, level), "difference")
    epochs = sorted((row for row in rows if row["epoch"] is not None), key=lambda row: row["epoch"])
    tried = sorted((epoch for arm in results.study.arms if (epoch := _epoch(arm)) is not None), reverse=True)
    facts = {
        "threshold": NONE,
        "pairs": [row for row in rows if row["epoch"] is None],
        "epochs": epochs,
        "free": leading(in_order(epochs, "epoch", tried), _outcome, Outcome.BELOW)[::-1],
        "outcome_of": {row["arm"]: _outcome(row) for row in rows},
        "primary": primary,
        "lines": between,
        "runs": results.runs,
    }
    outcomes = {"finetuned minus random": Outcome.of(primary if tuned and random else None)}
    numbers = pl.DataFrame(rows, infer_schema_length=None)
    pairs = max((row["runs"] for row in rows), default=0)
    claims = _claims(rows, primary if tuned and random else None)
    return Answer("transfer-barriers", outcomes, numbers, facts, finding=FINDING, seeds=pairs, claims=claims)


def _row(arm: Arm, heights: Mapping[str, Mapping[str, list[float]]], level: float, wide: float) -> dict[str, Any]:
    values = heights["error"][arm.name]
    corrected = level if _epoch(arm) is not None else wide
    return {
        "arm": arm.name,
        "title": arm.title,
        "epoch": _epoch(arm),
        "runs": len(values),
        **columns(inference.bounded(inference.mean(values, level), 0.0, 100.0), "barrier"),
        **for_all(inference.bounded(inference.mean(values, corrected), 0.0, 100.0)),
        "loss": inference.mean(heights["cross_entropy"][arm.name]).value,
    }


def _claims(rows: Sequence[Mapping[str, Any]], primary: Mapping[str, Any] | None) -> tuple[Claim, ...]:
    return (
        Claim.of(
            "Between two networks fine-tuned from one there is no barrier.",
            "",
            f"barrier, points of test error (less than {NONE:g})",
            next((row for row in rows if row["arm"] == PRIMARY[0]), None),
            "barrier",
            Outcome.BELOW,
            NONE,
        ),
        Claim.of(
            "Two fine-tuned networks have a lower barrier than two from scratch.",
            "",
            "difference, points of test error",
            primary,
            "difference",
            Outcome.BELOW,
            ends=("low", "high"),
        ),
    )


def _heights(between: pl.DataFrame) -> dict[str, list[float]]:
    """Of each arm the barrier of each pair."""
    heights: dict[str, list[float]] = {}
    for (arm, _), line in between.group_by(["arm", "seed"], maintain_order=True):
        ordered = line.sort("alpha")
        height = barrier_above_chord(ordered["alpha"].to_numpy(), ordered["mean"].to_numpy())
        heights.setdefault(str(arm), []).append(float(height))
    return heights


def _epoch(arm: Arm) -> int | None:
    """The epoch of pre-training from which an arm is fine-tuned; None for its end, and from scratch."""
    init = arm.runs[0].recipe.init
    if not isinstance(init, Trained) or init.at == "end":
        return None
    return init.number or 0


def _outcome(row: Any) -> Outcome:
    return Outcome.of(row, "low_all", "high_all", NONE)


def _worth(results: Results, level: float) -> Answer:
    """The accuracy of fine-tuned networks minus that of networks from scratch, for each size of shuffled blocks."""
    sound = results.runs.filter(pl.col("status") != "diverged")
    accuracies = {str(name): of_arm["test_accuracy"].drop_nulls() for (name,), of_arm in sound.group_by(["arm"])}
    none = pl.Series([], dtype=pl.Float64)
    compared = [
        (arm.runs[0].recipe.data.shuffled_blocks, tuned, random)
        for arm in results.study.arms
        if arm.name == PRIMARY[0] or (arm.group == "data" and arm.name != arm.baseline)
        if (tuned := accuracies.get(arm.name, none)).len() and (random := accuracies.get(arm.baseline, none)).len()
    ]
    wide = widened(level, len(compared))
    rows: list[dict[str, Any]] = [
        {
            "step": side,
            "runs": tuned.len(),
            "finetuned": tuned.mean(),
            "random": random.mean(),
            **columns(inference.difference(tuned, random, level), "difference"),
            **for_all(inference.difference(tuned, random, wide)),
        }
        for side, tuned, random in sorted(compared, key=lambda row: (row[0] == 0, row[0]))
    ]
    outcomes = {str(row["step"]): Outcome.of(row, "low_all", "high_all") for row in rows}
    runs = max((row["runs"] for row in rows), default=0)
    return Answer(
        "worth-of-pretraining", outcomes, pl.DataFrame(rows), {"rows": rows}, finding=SHUFFLED_FINDING, seeds=runs
    )
