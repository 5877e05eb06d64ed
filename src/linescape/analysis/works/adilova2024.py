"""Barriers of layers that are averaged, alone and cumulatively (Adilova et al. 2024, arXiv 2307.06966)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import (
    Answer,
    Claim,
    Outcome,
    columns,
    for_all,
    in_order,
    leading,
    sortable,
    widened,
)
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of
from linescape.shape import TOLERANCE
from linescape.studies.paths import RandomDirection
from linescape.studies.study import Greedy, Run, Scan
from linescape.studies.works.adilova2024 import GREEDY, IN_RANDOM_ORDER

FINDING = "no single layer makes a barrier, several middle layers together do"

SINGLE, SHALLOW, DEEP, RANDOM, ALL = "one layer", "from the input", "from the output", "random direction", "all layers"
"""What is averaged; or the middle of a random direction that is as long as the way to the other network's layer."""

SHUFFLED = "random order"
"""The same, of layers added in an order drawn for each pair; and in `GREEDY`."""

ORDERS = {"shallow": SHALLOW, "deep": DEEP, "shuffled": SHUFFLED, "greedy": GREEDY}
"""Orders of cumulative averages, by the name of their facts."""

_KEYS = {"arm": pl.String, "what": pl.String, "layer": pl.String, "layers": pl.Int64}
_BARRIER = {**_KEYS, "seed": pl.Int64, "barrier": pl.Float64, "error": pl.Float64}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer: the barrier of each single layer, and of how many layers together.

    A single layer's barrier is the mean over both networks as hosts. Tests of cumulative barriers go in an order fixed
    before looking, from few layers on for "no barrier" and from all layers back for "barrier", each until one fails, so
    they are corrected for the number of such orders alone: from the input and from the output, of all kinds of pairs.
    The random and the greedy order were added later, and are a family of their own, corrected likewise.

    Columns of `numbers`: arm, title, what, layer (the last that was added; empty in orders that differ by pair), layers
    (how many), runs, barrier (nats of test loss), low, high, low_all, high_all, error (the same in points of test
    error). Outcomes: of each arm, whether any single layer has a barrier above `shape.TOLERANCE`, and whether all have
    together.
    """
    barriers = _barriers(results)
    arms = [arm for arm in results.study.arms if barriers.filter(arm=arm.name, what=ALL).height]
    alone = barriers.filter(what=SINGLE).select("arm", "layer").n_unique()  # as many as random directions
    rows = []
    for key, pairs in barriers.group_by(list(_KEYS), maintain_order=True):
        named = dict(zip(_KEYS, key, strict=True))
        wide = widened(level, alone if named["what"] in (SINGLE, RANDOM) else 2 * len(arms))
        rows.append({**named, **_estimated(pairs, level, wide)})
    again = _barriers(results, treatment=1)
    facts = [
        {"title": arm.title, **_of_arm([row for row in rows if row["arm"] == arm.name])}
        | {"recalibrated": _estimated(again.filter(arm=arm.name, what=ALL), level, level)}
        for arm in arms
    ]
    outcomes: dict[str, Outcome] = {}
    for arm, of_arm in zip(arms, facts, strict=True):
        outcomes |= {f"{arm.name}, one layer": of_arm["single"], f"{arm.name}, all layers": of_arm["together"]}
    titles = {arm.name: arm.title for arm in arms}
    numbers = pl.DataFrame([{"title": titles.get(row["arm"], ""), **row} for row in rows])
    words = {"arms": facts, "tolerance": TOLERANCE}
    claims = _claims(facts[0] if facts and arms[0] is results.study.arms[0] else None)
    return (Answer("averaged-layers", outcomes, numbers, words, finding=FINDING, claims=claims),)


def _claims(base: dict[str, Any] | None) -> tuple[Claim, Claim]:
    """Of the first arm, two networks from different starts; of single layers that which decides, or the highest."""
    deciding = base and max(base["above"], key=lambda row: row["barrier"], default=base["highest"])
    unit = "nats of test loss at the middle above the mean of both"
    return (
        Claim.of(
            "No single layer makes a barrier.",
            "",
            f"highest of all layers, {unit} (less than {TOLERANCE:g})",
            deciding,
            "barrier",
            Outcome.BELOW,
            TOLERANCE,
            outcome=base["single"] if base else None,
        ),
        Claim.of(
            "All layers together make one.",
            "",
            f"{unit} (more than {TOLERANCE:g})",
            base and base["all"],
            "barrier",
            Outcome.ABOVE,
            TOLERANCE,
        ),
    )


def _barriers(results: Results, treatment: int = 0) -> pl.DataFrame:
    """A row for each pair and what is averaged: loss and error of the middle above the means of both full networks."""
    measured = curves_of(results, "test", named=_averaged, treatment=treatment).filter(
        pl.col("measure").is_in(["cross_entropy", "error"])
    )
    full = (
        measured.filter((pl.col("what") == ALL) & pl.col("alpha").is_in([0.0, 1.0]))
        .group_by("arm", "seed", "measure")
        .agg(full=pl.col("mean").mean())
    )
    middles = (
        measured.filter(pl.col("alpha") == 0.5)
        .join(full, on=["arm", "seed", "measure"], maintain_order="left")
        .group_by([*_KEYS, "seed", "measure"], maintain_order=True)
        .agg(above=(pl.col("mean") - pl.col("full")).mean())  # over hosts, or over random directions
    )
    loss, error = (
        middles.filter(pl.col("measure") == measure).drop("measure").rename({"above": name})
        for measure, name in (("cross_entropy", "barrier"), ("error", "error"))
    )
    joined = loss.join(error, on=[*_KEYS, "seed"], maintain_order="left")
    lines = joined.select(pl.col(name).cast(kind) for name, kind in _BARRIER.items())
    return lines if treatment else pl.concat([lines, _greedy(results, full)])


def _greedy(results: Results, full: pl.DataFrame) -> pl.DataFrame:
    """The same rows of the greedy order, but of all layers, which the line of all layers has."""
    means = {(arm, seed, measure): mean for arm, seed, measure, mean in full.iter_rows()}
    rows = [
        {"arm": arm, "what": GREEDY, "layer": "", "layers": count, "seed": seed}
        | {"barrier": loss - means[arm, seed, "cross_entropy"], "error": error - means[arm, seed, "error"]}
        for (arm, seed, _), found in results.of(Greedy).items()
        if (arm, seed, "error") in means
        for count, (loss, error) in enumerate(zip(found.losses[:-1], found.errors[:-1], strict=True), start=1)
    ]
    return pl.DataFrame(rows, _BARRIER)


def _averaged(run: Run, scan: Scan) -> Mapping[str, Any] | None:
    """What the middle of a line between two trainings averages."""
    if scan.start.recipe == scan.end.recipe:
        return None
    order = list(dict.fromkeys(each.block for each in run.lines.values() if each.block and not each.blocks))
    if not scan.block:
        return {"what": ALL, "layer": "", "layers": len(order)}
    if any(each is scan and label.endswith(IN_RANDOM_ORDER) for label, each in run.lines.items()):
        return {"what": SHUFFLED, "layer": "", "layers": len(scan.moving)}
    if isinstance(scan.along, RandomDirection):
        return {"what": RANDOM, "layer": scan.block, "layers": 1}
    if not scan.blocks:
        return {"what": SINGLE, "layer": scan.block, "layers": 1}
    shallow = scan.block == order[0]
    last = scan.blocks[-1] if shallow else scan.block
    return {"what": SHALLOW if shallow else DEEP, "layer": last, "layers": len(scan.moving)}


def _estimated(pairs: pl.DataFrame, level: float, wide: float) -> dict[str, Any]:
    barrier = columns(inference.mean(pairs["barrier"], level), "barrier")
    return {
        "runs": pairs.height,
        **barrier,
        **for_all(inference.mean(pairs["barrier"], wide)),
        "error": pairs["error"].mean(),
    }


def _of_arm(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the intervals of an arm say."""
    single = [row for row in rows if row["what"] == SINGLE]
    outcomes = [_outcome(row) for row in single]
    (everything,) = (row for row in rows if row["what"] == ALL)
    facts: dict[str, Any] = {
        "singles": single,
        "highest": max(single, key=lambda row: sortable(row["barrier"]), default=None),
        "above": [row for row, outcome in zip(single, outcomes, strict=True) if outcome is Outcome.ABOVE],
        "below": [row for row, outcome in zip(single, outcomes, strict=True) if outcome is Outcome.BELOW],
        "all": everything,
        "together": _outcome(everything),
        "single": Outcome.INCONCLUSIVE,
    }
    if facts["above"]:
        facts["single"] = Outcome.ABOVE
    elif single and len(facts["below"]) == len(single):
        facts["single"] = Outcome.BELOW
    for name, what in ORDERS.items():
        several = in_order((row for row in rows if row["what"] == what), "layers", range(2, everything["layers"]))
        free = leading(several, _outcome, Outcome.BELOW)
        barred = leading([everything, *several[::-1]], _outcome, Outcome.ABOVE)
        facts[name] = {"free": free[-1] if free else None, "barred": barred[-1] if barred else None}
    directions = [row["barrier"] for row in rows if row["what"] == RANDOM]
    facts["random"] = float(np.max(directions)) if directions else None  # NaN if one is
    return facts


def _outcome(row: Mapping[str, Any]) -> Outcome:
    return Outcome.of(row, "low_all", "high_all", TOLERANCE)
