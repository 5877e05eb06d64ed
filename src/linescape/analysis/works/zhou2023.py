"""Features between two networks against the mixture of theirs, and against the barrier (Zhou et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of
from linescape.interpolation.features import FeatureConnectivity
from linescape.shape import barrier_above_mean
from linescape.studies.study import Features
from linescape.studies.works.frankle2020lmc import SPAWNED
from linescape.studies.works.zhou2023 import BETWEEN

FINDING = "two networks without a barrier between them, spawned or aligned, have features close to the mixture"
ALL = "all"
"""In `numbers`, the mean over all layers of an arm's networks."""

_PAIR = {
    **{"arm": pl.String, "title": pl.String, "seed": pl.Int64, "layer": pl.String},
    **dict.fromkeys(("distance", "ends", "coefficient", "barrier"), pl.Float64),
    "undefined": pl.Int64,
}


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """One answer: how far features at the middle are from the mixture, and whether that goes with the barrier.

    The two contrasts are declared before looking, and corrected for each other: the rank correlation of a pair's
    barrier with its distance, arms being the units; and of the copies made last, the distance between both ends minus
    that from the mixture. Other intervals are t intervals over pairs, uncorrected; barriers within [0, 100], distances
    within [0, 2].

    Columns of `numbers`, a row for each arm and layer, ``all`` being the mean over layers: arm, title, layer, runs
    (pairs), distance (1 - cos of the features at alpha = 0.5 and the mixture, a mean over test examples), low, high,
    ends (1 - cos of both ends' features), coefficient (of least squares), undefined (examples without a direction, the
    most of a pair); in rows of all layers also barrier (points of test error above the mean of both ends), barrier_low,
    barrier_high, closer (ends - distance), closer_low, closer_high.
    """
    pairs = pairs_of(results)
    whole = pairs.filter(layer=ALL)
    rows = [_row(of_layer, level) for _, of_layer in pairs.group_by(["arm", "layer"], maintain_order=True)]
    arms = [row for row in rows if row["layer"] == ALL]
    wide = widened(level, 2)
    relation = columns(
        inference.rank_correlation(whole["barrier"], whole["distance"], whole["arm"].to_list(), level=wide),
        "correlation",
    )
    last = next((arm.name for arm in reversed(results.study.arms) if arm.name.startswith(SPAWNED)), "")
    row = next((row for row in arms if row["arm"] == last), None)
    closer = whole.filter(arm=last)
    apart = {**(row or {}), **for_all(inference.mean(closer["ends"] - closer["distance"], wide), "closer_")}
    outcomes = {
        "together": Outcome.of(relation if arms else None),
        "closer": Outcome.of(apart if row else None, "closer_low_all", "closer_high_all"),
    }
    claims = _claims(relation if arms else None, apart if row else None)
    facts = {
        "arms": arms,
        "layers": {arm["arm"]: [row for row in rows if row["arm"] == arm["arm"] and row is not arm] for arm in arms},
        "relation": relation,
        "last": apart if row else None,
        "fewest": inference.FEWEST_ARMS,
        "of_runs": whole,
    }
    numbers = pl.DataFrame(rows, infer_schema_length=None)
    runs = max((row["runs"] for row in arms), default=0)
    return (Answer("feature-connectivity", outcomes, numbers, facts, finding=FINDING, seeds=runs, claims=claims),)


def _claims(relation: Mapping[str, Any] | None, apart: Mapping[str, Any] | None) -> tuple[Claim, ...]:
    return (
        Claim.of(
            "Features are the farther from the mixture the higher the barrier is.",
            "features are close to the mixture where there is no barrier",
            "rank correlation over arms of barrier and 1 - cos at the middle",
            relation,
            "correlation",
            Outcome.ABOVE,
            ends=("low", "high"),
        ),
        Claim.of(
            "Between copies made late, features are closer to the mixture than those of both ends to each other.",
            "closer in nearly all layers",
            "1 - cos of both ends minus 1 - cos of middle and mixture, mean over layers",
            apart,
            "closer",
            Outcome.ABOVE,
            ends=("closer_low_all", "closer_high_all"),
        ),
    )


def pairs_of(results: Results) -> pl.DataFrame:
    """A row for each pair of networks and layer, and one for all layers, of pairs whose line is measured too."""
    barriers = {
        (str(arm), int(seed)): float(barrier_above_mean(line["alpha"].to_numpy(), line["mean"].to_numpy()))
        for (arm, seed), line in curves_of(results, "test", "error")
        .filter(label=BETWEEN)
        .group_by(["arm", "seed"], maintain_order=True)
    }
    rows: list[dict[str, Any]] = []
    for arm in results.study.arms:
        for run in arm.runs:
            found = results.of(Features).get((arm.name, run.seed, BETWEEN))
            if found is not None and (arm.name, run.seed) in barriers:
                named = {"arm": arm.name, "title": arm.title, "seed": run.seed, "barrier": barriers[arm.name, run.seed]}
                rows += [named | row for row in _of_layers(found)]
    return pl.DataFrame(rows, schema=_PAIR)


def _of_layers(found: FeatureConnectivity) -> list[dict[str, Any]]:
    """Means over examples at the middle: of all layers, then of each."""
    middle = found.frame().filter(alpha=0.5).drop("alpha")
    numbers = middle.select("distance", "ends", "coefficient").mean().row(0, named=True)
    whole = {"layer": ALL, **numbers, "undefined": middle["undefined"].max()}
    return [whole, *middle.to_dicts()]


def _row(pairs: pl.DataFrame, level: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "arm": pairs["arm"][0],
        "title": pairs["title"][0],
        "layer": pairs["layer"][0],
        "runs": pairs.height,
        **columns(inference.bounded(inference.mean(pairs["distance"], level), 0.0, 2.0), "distance"),
        "ends": pairs["ends"].mean(),
        "coefficient": pairs["coefficient"].mean(),
        "undefined": pairs["undefined"].max(),
    }
    if row["layer"] == ALL:
        row |= columns(inference.bounded(inference.mean(pairs["barrier"], level), 0.0, 100.0), "barrier", "barrier_")
        row |= columns(inference.mean(pairs["ends"] - pairs["distance"], level), "closer", "closer_")
    return row
