"""What a start that fits random labels costs, and the line from it (Liu et al. 2020, arXiv 1906.02613)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs
from linescape.shape import hump
from linescape.studies.works.liu2020 import LEARNT, POISONED, WAYS

PRIMARY = "vanilla"
"""The way of training of the primary contrast, declared before looking: the source's finding is about plain SGD."""
_WAY = pl.col("arm").str.strip_suffix(POISONED)
_START = pl.when(pl.col("arm").str.ends_with(POISONED)).then(pl.lit("poisoned start")).otherwise(pl.lit("usual start"))
"""The way of training and the start of an arm."""
UNDONE = 2.0
"""Points of test error up to which the damage is undone. Our choice; the source has no limit."""

FINDINGS = {
    "poisoned-starts": "plain SGD loses up to 40 points of test accuracy at 100 % training accuracy, and any of "
    "momentum, augmentation and weight decay undoes this",
    "lines-from-poisoned-starts": "nothing about lines; Vlaar & Frankle 2022 find higher barriers from such starts",
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """Two answers: the test error that the poisoned start costs in each way of training, and what its lines show."""
    return _lost(results, level), _lines(results, level)


def _lost(results: Results, level: float) -> Answer:
    """Test error at the end from the poisoned start minus that from the usual one, by t intervals over seeds.

    Both trainings of a seed have the same images, so they are compared in pairs.

    Columns of `numbers`: way, title, runs, usual, poisoned (mean test error, %), difference (points), low, high,
    low_all, high_all (corrected for the ways of training), usual_train, poisoned_train (mean training error at the end,
    without augmentation, %).
    """
    ends = of_runs(curves_of(results, "train", "error"), lambda _, errors: errors[-1])
    sound = results.runs.filter(pl.col("status") != "diverged").with_columns(error=100 - pl.col("test_accuracy"))
    rows = [_row(way, pairs, ends, level) for way, pairs in _pairs(sound, "error").items()]
    primary = next((row for row in rows if row["way"] == PRIMARY), None)
    others = [row for row in rows if row is not primary]
    learnt = results.runs.filter(pl.col("arm") == PRIMARY + POISONED)["start_error"].drop_nulls()
    facts = {
        "rows": rows,
        "primary": primary,
        "outcome_of": {row["way"]: Outcome.of(row, "low_all", "high_all") for row in others},
        "undone": [row["way"] for row in others if Outcome.of(row, "low_all", "high_all", UNDONE) is Outcome.BELOW],
        "limit": UNDONE,
        "runs": sound.select(title=_WAY.replace(WAYS), start=_START, value="error"),
        "learnt": {"wanted": LEARNT, "runs": learnt.len(), "highest": learnt.max()},
    }
    claims = _claims(primary, {row["way"]: row for row in others})
    name = "poisoned-starts"
    return Answer(
        name, {PRIMARY: Outcome.of(primary)}, pl.DataFrame(rows), facts, finding=FINDINGS[name], claims=claims
    )


def _row(way: str, pairs: pl.DataFrame, ends: pl.DataFrame, level: float) -> dict[str, Any]:
    """Of one way of training; `ends` has the training error of each run at the end."""
    lost = pairs["poisoned"] - pairs["usual"]
    wide = widened(level, len(WAYS))
    fitted = [ends.filter(pl.col("arm") == arm)["value"].mean() for arm in (way, way + POISONED)]
    return {
        "way": way,
        "title": WAYS[way],
        "runs": pairs.height,
        "usual": pairs["usual"].mean(),
        "poisoned": pairs["poisoned"].mean(),
        **columns(inference.bounded(inference.mean(lost, level), -100.0, 100.0), "difference"),
        **for_all(inference.bounded(inference.mean(lost, wide), -100.0, 100.0)),
        **dict(zip(("usual_train", "poisoned_train"), fitted, strict=True)),
    }


def _claims(primary: Mapping[str, Any] | None, of_way: Mapping[str, Mapping[str, Any]]) -> tuple[Claim, ...]:
    unit = "test error from it minus that from the usual start, points"
    return (
        Claim.of(
            "Plain SGD from a start that fits random labels ends with less test accuracy.",
            "up to 40 points (CIFAR-10)",
            unit,
            primary,
            "difference",
            Outcome.ABOVE,
            ends=("low", "high"),
        ),
        *(
            Claim.of(
                f"Training {WAYS[way]} from such a start loses nothing (here: less than {UNDONE:g} points).",
                "",
                unit,
                of_way.get(way),
                "difference",
                Outcome.BELOW,
                UNDONE,
            )
            for way in ("momentum", "augmentation", "weight-decay")
        ),
    )


def _lines(results: Results, level: float) -> Answer:
    """The hump of test loss on the line from start to end, and the loss that it starts from.

    Humps are often zero, so differences have the interval of a permutation test. Columns of `numbers`: way, title,
    runs, usual, poisoned (mean hump, nats), difference, low, high, low_all, high_all, start (mean test loss of the
    poisoned start on the true labels, nats).
    """
    lines = curves_of(results, "test", "cross_entropy")
    humps, starts = of_runs(lines, hump), of_runs(lines, lambda _, losses: losses[0])
    rows = []
    for way, pairs in _pairs(humps, "value").items():
        usual, poisoned = pairs["usual"], pairs["poisoned"]
        row = {"way": way, "title": WAYS[way], "runs": pairs.height, "usual": usual.mean(), "poisoned": poisoned.mean()}
        row |= columns(inference.permutation_difference(poisoned, usual, level), "difference")
        row |= for_all(inference.permutation_difference(poisoned, usual, widened(level, len(WAYS))))
        row |= {"start": starts.filter(pl.col("arm") == way + POISONED)["value"].mean()}
        rows.append(row)
    primary = next((row for row in rows if row["way"] == PRIMARY), None)
    shown = lines.with_columns(label=_START, arm=_WAY)
    facts = {
        "rows": rows,
        "primary": primary,
        "others": [(row, Outcome.of(row, "low_all", "high_all")) for row in rows if row is not primary],
        "lines": shown.with_columns(title=pl.col("arm").replace(WAYS)),
        "runs": results.runs,
    }
    name = "lines-from-poisoned-starts"
    return Answer(name, {PRIMARY: Outcome.of(primary)}, pl.DataFrame(rows), facts, finding=FINDINGS[name])


def _pairs(runs: pl.DataFrame, value: str) -> dict[str, pl.DataFrame]:
    """Of each way of training that is measured: the value of both starts, a row for each seed."""
    found = {}
    for way in WAYS:
        usual, poisoned = (
            runs.filter((pl.col("arm") == arm) & pl.col(value).is_not_null()).select("seed", pl.col(value).alias(name))
            for arm, name in ((way, "usual"), (way + POISONED, "poisoned"))
        )
        found[way] = usual.join(poisoned, on="seed", maintain_order="left")
    return {way: pairs for way, pairs in found.items() if pairs.height}
