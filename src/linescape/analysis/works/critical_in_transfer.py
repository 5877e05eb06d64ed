"""Criticality of modules in networks from scratch and in fine-tuned ones (Neyshabur et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape import models
from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works import critical
from linescape.studies.works.neyshabur2020 import SAME_RATE, SCRATCH, TUNED

NAMES = {SCRATCH: "scratch", TUNED: "tuned", SAME_RATE: "same_rate"}
"""Arms whose networks are compared, and their columns."""

TITLES = {"scratch": "from scratch", "tuned": "fine-tuned", "same_rate": "fine-tuned at the same rate"}

CONTRASTS: Mapping[str, tuple[str, str, str]] = {
    "tuned": ("tuned", "scratch", "mu"),
    "same_rate": ("same_rate", "scratch", "mu"),
    "rate": ("tuned", "same_rate", "mu"),
    "without_head": ("tuned", "scratch", "without_head"),
    "by_loss": ("tuned", "scratch", "by_loss"),
}
"""Ratios of sums over modules, declared before looking; the first is the primary one, the others are corrected for each
other. The head of a fine-tuned network starts from a random draw too, hence one without it."""

FINDING = "criticality of modules extends to transfer, and pre-trained weights guide the optimization to a flat basin"


def modules_in_transfer(results: Results, level: float) -> Answer:
    """How critical each module is from scratch and fine-tuned, and how the sums over modules compare.

    Networks are paired by seed. The ratio of two sums is the geometric mean over pairs; its t interval is that of the
    mean logarithm, and there is none where a sum is infinite or 0.

    Columns of `numbers`, a row for each module and one for their sum: module, runs (pairs of fine-tuned and from
    scratch), scratch, tuned, same_rate (medians over runs of the criticality at `critical.POINTS` more training error),
    each with _least and _most (over runs), lower (pairs in which the fine-tuned network's is lower).
    """
    measured = critical.measured_modules(results)
    sums = _sums(results, measured)
    modules = measured["module"].unique(maintain_order=True).to_list()
    rows = [_row(module, measured.filter(module=module)) for module in modules]
    contrasts = {
        name: _ratio(sums, *of, level=level if place == 0 else widened(level, len(CONTRASTS) - 1))
        for place, (name, of) in enumerate(CONTRASTS.items())
    }
    primary = contrasts["tuned"] if contrasts["tuned"]["runs"] else None
    facts = {
        "rows": rows,
        "sum": _row("sum", sums),
        "contrasts": contrasts,
        "orders": {name: _ordered(rows, name) for name in NAMES.values()},
        "free": {name: [row["module"] for row in rows if row[name] == 0] for name in NAMES.values()},
        "titles": TITLES,
        "points": critical.POINTS,
        "within": critical.WITHIN,
        "head": models.HEAD,
        "runs": measured.with_columns(kind=pl.col("arm").replace_strict({a: TITLES[n] for a, n in NAMES.items()})),
    }
    claim = Claim.of(
        "Pre-trained weights guide the optimization to a flat basin.",
        "",
        "criticality, sum over modules, fine-tuned ÷ from scratch (below 1, which is how we read flat)",
        primary,
        "ratio",
        Outcome.BELOW,
        1.0,
        ("low", "high"),
    )
    numbers = pl.DataFrame([*rows, facts["sum"]] if rows else [], infer_schema_length=None)
    outcomes = {"tuned": Outcome.of(primary, null=1.0)}
    seeds = primary["runs"] if primary else 0
    return Answer("critical-in-transfer", outcomes, numbers, facts, finding=FINDING, seeds=seeds, claims=(claim,))


def _sums(results: Results, measured: pl.DataFrame) -> pl.DataFrame:
    """Sums over modules of each run, and without the head."""
    head = measured.filter(pl.col("module") != models.HEAD)
    without = head.group_by("arm", "seed", maintain_order=True).agg(without_head=pl.col("mu").sum())
    return critical.sums(results).join(without, on=["arm", "seed"], how="left", maintain_order="left")


def _row(module: str, of_module: pl.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"module": module}
    for arm, name in NAMES.items():
        values = of_module.filter(arm=arm)["mu"]
        row[name] = critical.median(values) if values.len() else None
        row |= {f"{name}_least": values.min(), f"{name}_most": values.max()}
    pairs = _paired(of_module, "tuned", "scratch", "mu")
    return row | {"runs": pairs.height, "lower": int((pairs["one"] < pairs["other"]).sum())}


def _paired(of_runs: pl.DataFrame, one: str, other: str, statistic: str) -> pl.DataFrame:
    """A row for each seed that both kinds of network have: one and other."""
    arms = {name: arm for arm, name in NAMES.items()}
    sides = [
        of_runs.filter(arm=arms[kind]).select("seed", pl.col(statistic).alias(name))
        for kind, name in ((one, "one"), (other, "other"))
    ]
    return sides[0].join(sides[1], on="seed", maintain_order="left")


def _ratio(sums: pl.DataFrame, one: str, other: str, statistic: str, level: float) -> dict[str, Any]:
    pairs = _paired(sums, one, other, statistic)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(pairs["one"].to_numpy()) - np.log(pairs["other"].to_numpy())
        logarithms = logarithms if np.isfinite(logarithms).all() else np.full(logarithms.shape, np.nan)
        estimate = columns(inference.mean(logarithms, level), "ratio") | for_all(inference.mean(logarithms, level))
        return {"runs": pairs.height} | {name: float(np.exp(value)) for name, value in estimate.items()}


def _ordered(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The modules that are measured in a kind of network, the most critical first."""
    return sorted((row for row in rows if row[name] is not None), key=lambda row: -row[name])
