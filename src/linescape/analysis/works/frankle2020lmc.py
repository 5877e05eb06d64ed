"""Instability against the step at which copies of a training are made (Frankle et al. 2020, arXiv 1912.05671)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, in_order, leading
from linescape.analysis.tables import Results
from linescape.analysis.works import sparse
from linescape.analysis.works.curves import curves_of
from linescape.shape import barrier_above_mean
from linescape.studies.works.frankle2020lmc import step_at

Rows = Sequence[Mapping[str, Any]]
ONSET = 3.0
"""The share of the training in % from which on copies of ResNet-20 are stable in the source."""
STABLE = 2.0
"""The instability, in points of error, below which the source calls copies stable."""

FINDING = (
    "copies are stable from 3 % of the training on (ResNet-20 on CIFAR-10), 1.5 % (VGG-16), about 20 % (ResNet-50 on "
    "ImageNet), and from the start for LeNet on MNIST"
)

_PAIR = {
    "arm": pl.String,
    "step": pl.Int64,
    "seed": pl.Int64,
    "instability": pl.Float64,
    "loss": pl.Float64,
    "error": pl.Float64,
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """Two answers: the instability at each step, and that of pruned networks (`sparse.answer`).

    The first says from which step on it is below `STABLE`. A run's instability is the mean over its pairs of copies;
    intervals are t intervals over runs, within [0, 100]. Steps are tested in an order that is fixed before looking:
    "stable" from the last back to the first that is not, "unstable" from the first on. So all that is said of them
    holds together with probability `level`, uncorrected.

    Columns of `numbers`: arm, step, pairs, runs, instability (points of test error), low, high, loss (the same of test
    loss, in nats). Outcomes: of each arm, where its interval lies relative to `STABLE`.
    """
    every = _pairs(results)
    full = [arm.name for arm in results.study.arms if arm.group == "base"]
    pairs = every.filter(pl.col("arm").is_in(full))
    rows = [_row(of_arm, level) for _, of_arm in pairs.group_by("arm", maintain_order=True)]
    outcomes = {row["arm"]: Outcome.of(row, null=STABLE) for row in rows}
    tested = in_order(rows, "arm", full)
    stable = leading(tested[::-1], lambda row: outcomes[row["arm"]], Outcome.BELOW)[::-1]
    unstable = leading(tested, lambda row: outcomes[row["arm"]], Outcome.ABOVE)
    facts = {
        "threshold": STABLE,
        "rows": rows,
        "stable": stable,
        "unstable": unstable,
        "undecided": [row for row in rows if row not in stable and row not in unstable],
        "of_runs": _of_runs(pairs),
    }
    claim = _claim(results, rows, stable, unstable)
    of_full = Answer("instability", outcomes, pl.DataFrame(rows), facts, finding=FINDING, claims=(claim,))
    return (of_full, sparse.answer(results, every, STABLE, level))


def _claim(results: Results, rows: Rows, stable: Rows, unstable: Rows) -> Claim:
    """Of the arm at the source's share of the training, decided in the order of the tests."""
    step = step_at(results.study.arms[0].runs[0].recipe, ONSET)
    row = next((row for row in rows if row["step"] == step), None)
    outcome = Outcome.BELOW if row in stable else Outcome.ABOVE if row in unstable else Outcome.INCONCLUSIVE
    return Claim.of(
        f"Copies made after {ONSET:g} % of a training are stable.",
        f"below {STABLE:g} from {ONSET:g} % on (ResNet-20, CIFAR-10)",
        f"instability, points of test error (less than {STABLE:g})",
        row,
        "instability",
        Outcome.BELOW,
        STABLE,
        ("low", "high"),
        outcome,
    )


def _pairs(results: Results) -> pl.DataFrame:
    """A row for each pair of copies: its barrier above the mean of both ends in test error and loss, and that error."""
    steps = {arm.name: getattr(arm.runs[0].recipe.init, "number", None) or 0 for arm in results.study.arms if arm.runs}
    lines = curves_of(results, "test").filter(pl.col("label").str.starts_with("copies "))
    rows = []
    for (arm, seed, _), line in lines.group_by(["arm", "seed", "label"], maintain_order=True):
        heights = {
            measure: float(barrier_above_mean(part["alpha"].to_numpy(), part["mean"].to_numpy()))
            for (measure,), part in line.group_by(["measure"])
        }
        errors = dict(line.filter(measure="error").select("alpha", "mean").iter_rows())
        named = {"arm": arm, "step": steps[str(arm)], "seed": seed, "error": (errors[0.0] + errors[1.0]) / 2}
        rows.append({**named, "instability": heights["error"], "loss": heights["cross_entropy"]})
    return pl.DataFrame(rows, schema=_PAIR)


def _of_runs(pairs: pl.DataFrame) -> pl.DataFrame:
    """The means over the pairs of each run."""
    by = ["arm", "step", "seed"]
    return pairs.group_by(by, maintain_order=True).agg(pl.len().alias("pairs"), pl.col("instability", "loss").mean())


def _row(pairs: pl.DataFrame, level: float) -> dict[str, Any]:
    runs = _of_runs(pairs)
    mean = inference.bounded(inference.mean(runs["instability"], level), 0.0, 100.0)
    return {
        "arm": pairs["arm"][0],
        "step": pairs["step"][0],
        "pairs": pairs.height,
        "runs": runs.height,
        "instability": mean.value,
        "low": mean.low,
        "high": mean.high,
        "loss": runs["loss"].mean(),
    }
