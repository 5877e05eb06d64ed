"""Criticality of modules and networks, with noise (Chatterji et al. 2020, arXiv 1912.00528)."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, widened
from linescape.analysis.tables import Results
from linescape.interpolation.critical import Criticality
from linescape.shape import start_above_end
from linescape.studies.study import Noise

POINTS = 1.0
"""Points of training error above the end's that the noisy network may have. The source bounds this error, by
how much is not known here."""

WITHIN = 1.01
"""How many times the end's training loss, the other bound: that of a third-party implementation."""

CONTRASTS = 3
"""Declared before looking, and corrected for each other: early modules and those that reduce the resolution against the
others, and the rank correlation of criticality with the loss that a module costs at its start, both of the base; and
that of a network's criticality with its generalisation gap."""

_MODULE: dict[str, Any] = {
    **dict.fromkeys(("arm", "title"), pl.String),
    "seed": pl.Int64,
    "module": pl.String,
    **dict.fromkeys(("mu", "by_loss", "least", "most", "lost"), pl.Float64),
}


def modules(results: Results, early: Collection[str], level: float) -> Answer:
    """How critical each module of the base is, under noise.

    Columns of `numbers`: module, early, runs, mu (median over runs of the criticality at `POINTS` more training error;
    infinite where no sigma of the grid is small enough), mu_least and mu_most (over runs), by_loss (median at `WITHIN`
    times the training loss), lost (mean training loss at the start without noise minus the end's, nats).
    """
    measured = measured_modules(results)
    base = results.study.arms[0].name
    runs = measured.filter(pl.col("arm") == base)
    rows: list[dict[str, Any]] = [
        {
            "module": str(module),
            "early": module in early,
            "runs": of_module.height,
            "mu": median(of_module["mu"]),
            "mu_least": of_module["mu"].min(),
            "mu_most": of_module["mu"].max(),
            "by_loss": median(of_module["by_loss"]),
            "lost": of_module["lost"].mean(),
        }
        for (module,), of_module in runs.group_by(["module"], maintain_order=True)
    ]
    wide = widened(level, CONTRASTS)
    apart = _apart(runs, early, wide)
    related = inference.rank_correlation(runs["mu"], runs["lost"], runs["module"].to_list(), level=wide)
    relation = columns(related, "correlation")
    ordered = sorted(rows, key=lambda row: -row["mu"])
    facts = {
        "rows": rows,
        "ordered": ordered,
        "beyond": [row["module"] for row in rows if math.isinf(row["mu"])],
        "apart": apart,
        "relation": relation,
        "points": POINTS,
        "within": WITHIN,
        "open": int((runs["least"] != runs["most"]).sum()),
        "of": runs.height,
        "draws": next((one.means["train", "error"].shape[2] for one in results.of(Noise).values()), 0),
        "runs": runs.with_columns(early=pl.col("module").is_in(list(early))),
    }
    outcomes = {
        "early": Outcome.of(apart if apart["runs"] else None),
        "lost": Outcome.of(relation if rows else None),
    }
    claim = Claim.of(
        "Early modules and those that reduce the resolution are the critical ones, under noise.",
        "",
        "mean rank of their criticality minus that of the other modules",
        apart if apart["runs"] else None,
        "difference",
        Outcome.ABOVE,
        ends=("low", "high"),
    )
    finding = "few modules are critical, early ones and those that reduce the resolution (not checked against its text)"
    return Answer("critical-modules", outcomes, pl.DataFrame(rows), facts, finding=finding, claims=(claim,))


def networks(results: Results, level: float) -> Answer:
    """Whether networks with a larger criticality, the sum over modules, have a larger generalisation gap.

    Columns of `numbers`, a row for each network: arm, title, runs, mu (median over runs), by_loss, gap (mean test error
    minus training error at the end, points), test_error (mean, %). The interval is over networks.
    """
    runs = _runs(results)
    rows: list[dict[str, Any]] = [
        {
            "arm": arm,
            "title": title,
            "runs": of_arm.height,
            "mu": median(of_arm["mu"]),
            "by_loss": median(of_arm["by_loss"]),
            "gap": of_arm["gap"].mean(),
            "test_error": of_arm["test_error"].mean(),
        }
        for (arm, title), of_arm in runs.group_by(["arm", "title"], maintain_order=True)
    ]
    wide = widened(level, CONTRASTS)

    def related(statistic: str, other: str, corrected: float) -> dict[str, float]:
        one = inference.rank_correlation(runs[statistic], runs[other], runs["arm"].to_list(), level=corrected)
        return columns(one, "correlation")

    relation = related("mu", "gap", wide)
    facts = {
        "rows": rows,
        "relation": relation,
        "others": {
            "by_loss": related("by_loss", "gap", widened(wide, 2)),
            "test_error": related("mu", "test_error", widened(wide, 2)),
        },
        "points": POINTS,
        "within": WITHIN,
        "networks": len(rows),
        "fewest": inference.FEWEST_ARMS,
        "runs": runs,
    }
    outcomes = {"gap": Outcome.of(relation if rows else None)}
    claim = Claim.of(
        "A network's criticality ranks networks by their generalisation gap.",
        "",
        "rank correlation over networks",
        relation if rows else None,
        "correlation",
        Outcome.ABOVE,
        ends=("low", "high"),
    )
    finding = "network criticality ranks architectures by how well they generalise (not checked against its text)"
    return Answer("critical-networks", outcomes, pl.DataFrame(rows), facts, finding=finding, claims=(claim,))


def sums(results: Results) -> pl.DataFrame:
    """A row for each run of which all modules are measured: arm, title, seed, and mu and by_loss, sums over modules."""
    summed = (
        measured_modules(results)
        .group_by("arm", "title", "seed", maintain_order=True)
        .agg(pl.col("mu", "by_loss").sum(), modules=pl.len())
    )
    whole = [
        {"arm": arm.name, "seed": run.seed, "modules": len(run.measured.get(Noise, {}))}
        for arm in results.study.arms
        for run in arm.runs
    ]
    asked = pl.DataFrame(whole, {"arm": pl.String, "seed": pl.Int64, "modules": summed.schema["modules"]})
    return summed.join(asked, on=["arm", "seed", "modules"], how="semi", maintain_order="left").drop("modules")


def _runs(results: Results) -> pl.DataFrame:
    """`sums` with how well each run generalises."""
    found = sums(results)
    accuracies = {
        (arm, seed): (train, test)
        for arm, seed, train, test in results.runs.select("arm", "seed", "train_accuracy", "test_accuracy").iter_rows()
        if train is not None and test is not None
    }
    return pl.DataFrame(
        [
            {**row, "gap": accuracies[key][0] - accuracies[key][1], "test_error": 100 - accuracies[key][1]}
            for row in found.iter_rows(named=True)
            if (key := (row["arm"], row["seed"])) in accuracies
        ],
        schema={**found.schema, "gap": pl.Float64, "test_error": pl.Float64},
    )


def measured_modules(results: Results) -> pl.DataFrame:
    """A row for each module of each run that did not diverge, with its values at both bounds, as `_MODULE`."""
    found = results.of(Noise)
    sound = results.runs.filter(pl.col("status") != "diverged").select("arm", "seed").rows() if found else []
    titles = {arm.name: arm.title for arm in results.study.arms}
    rows = [
        {"arm": arm, "title": titles[arm], "seed": seed, "module": module, **_of_module(measured)}
        for (arm, seed, module), measured in found.items()
        if (arm, seed) in sound
    ]
    return pl.DataFrame(rows, schema=_MODULE)


def _of_module(measured: Criticality) -> dict[str, float]:
    error, loss = ("train", "error"), ("train", "cross_entropy")
    mu = measured.mu(measured.end(error) + POINTS, error)
    return {
        "mu": mu.value,
        "by_loss": measured.mu(WITHIN * measured.end(loss), loss).value,
        "least": mu.low,
        "most": mu.high,
        "lost": start_above_end([0, 1], measured.without[loss][[0, -1]]),
    }


def median(values: pl.Series) -> float:
    """The lower of the two middle values of an even number, as a value may be infinite."""
    return float(np.sort(values.to_numpy())[(len(values) - 1) // 2])


def _apart(runs: pl.DataFrame, early: Collection[str], level: float) -> dict[str, Any]:
    """Of each run the mean rank of the early modules minus that of the others, then over runs."""
    is_early = pl.col("module").is_in(list(early))
    sides = (
        runs.with_columns(rank=pl.col("mu").rank().over("seed"))
        .group_by("seed", maintain_order=True)
        .agg(early=pl.col("rank").filter(is_early).mean(), others=pl.col("rank").filter(~is_early).mean())
    )
    difference = (sides["early"] - sides["others"]).drop_nulls()
    return {"runs": difference.len(), **columns(inference.mean(difference, level), "difference")}
