"""Does the distance moved separate monotone lines from others?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import inference, tables
from linescape.analysis.answers.answer import (
    Answer,
    columns,
    comparisons,
    for_all,
    inconclusive,
    leaves_out,
    number,
    pool,
    pooled,
    span,
    widened,
)
from linescape.analysis.tables import TOLERANCE
from linescape.shape.definitions import DEFINITIONS, DISTANCES

PRIMARY = ("relative_distance", "hump")
"""Declared before looking: the AUC of the relative distance for lines with a hump above the tolerance. The source's
lines that are not monotone have a barrier, a rise that is given back; min Delta counts the overfit end too."""


def distance_and_monotonicity(runs: pl.DataFrame, level: float = 0.95, tolerance: float = TOLERANCE) -> Answer:
    """How well the distance moved singles out runs whose line is not monotone, and how it goes with the rise itself.

    The verdict is about the relative distance and a hump above `tolerance` (area under the ROC curve); rank
    correlations, the plain distance and `min_delta` stand beside it. Columns of `numbers`: distance, label, rise,
    rise_label, runs, arms, not_monotone, auc, low, high, low_all, high_all (widened, but for `PRIMARY`), spearman...,
    kendall..., grouped... (Spearman inside groups of interventions).
    Columns of `groups`, about the pair of the verdict: group, runs, arms, not_monotone, auc, low, high, low_all,
    high_all, spearman..., kendall... of the runs of that group alone (NaN below `inference.FEWEST_ARMS` arms),
    without_auc, without_low, without_high of all others.
    """
    kept = pool(runs).filter(pl.col("distance").is_not_null() & pl.col(f"test_{PRIMARY[1]}").is_not_nan())
    pairs = [(distance, rise) for rise in ("hump", "min_delta") for distance in ("relative_distance", "distance")]
    wide = widened(level, len(pairs) - 1)
    rows: list[dict[str, Any]] = []
    for distance, rise in pairs:
        row = {
            "distance": distance,
            "label": DISTANCES[distance].label,
            "rise": rise,
            "rise_label": DEFINITIONS[rise].label,
            **_measured(kept, distance, rise, level, level if (distance, rise) == PRIMARY else wide, tolerance),
        }
        x, y, arms, groups = kept[distance], kept[f"test_{rise}"], kept["arm"].to_list(), kept["group"].to_list()
        row |= columns(inference.within_groups(x, y, arms, groups, level=level), "grouped", "grouped_")
        rows.append(row)
    by_group = _by_group(kept, level, tolerance)
    method = (
        f"Not monotone: a hump above {tolerance:g} nats on the test set. AUC: the chance that a run that is not "
        "monotone has moved farther than one that is; 0.5 is no better than a coin. Interval: Obuchowski's variance "
        "with arms as clusters, Newcombe's method at perfect separation. The rows but the primary one are widened for "
        f"{comparisons(len(pairs) - 1)}; rank correlations with the rise itself (jackknife over arms; inside groups: "
        "ranks within each group) are for context. By group: of its runs alone (undefined below "
        f"{inference.FEWEST_ARMS} arms), widened for {comparisons(by_group.height)}, and of all others. "
        f"{pooled(runs, kept)}"
    )
    return Answer(
        "distance-and-monotonicity",
        "Does the distance moved separate monotone lines from others?",
        _verdict(rows[0], by_group, tolerance),
        method,
        pl.DataFrame(rows),
        _headline(rows[0]),
        by_group,
        "the AUC of the relative distance for lines with a hump, since a hump is what the source calls a barrier.",
        _outcome(rows[0]),
    )


def _measured(
    kept: pl.DataFrame, distance: str, rise: str, level: float, wide: float, tolerance: float
) -> dict[str, Any]:
    risen = kept.select(tables.not_monotone(tolerance, rise)).to_series()
    x, y, arms = kept[distance], kept[f"test_{rise}"], kept["arm"].to_list()
    return {
        "runs": kept.height,
        "arms": len(set(arms)),
        "not_monotone": int(risen.sum()),
        **columns(inference.auc(x, risen, arms, level), "auc"),
        **for_all(inference.auc(x, risen, arms, wide)),
        **columns(inference.rank_correlation(x, y, arms, level=level), "spearman", "spearman_"),
        **columns(inference.rank_correlation(x, y, arms, "kendall", level), "kendall", "kendall_"),
    }


def _by_group(kept: pl.DataFrame, level: float, tolerance: float) -> pl.DataFrame:
    groups = kept["group"].unique(maintain_order=True).to_list()
    wide = widened(level, len(groups))
    rows = []
    for group in groups:
        own, rest = kept.filter(pl.col("group") == group), kept.filter(pl.col("group") != group)
        others = rest.select(tables.not_monotone(tolerance, PRIMARY[1])).to_series()
        without = inference.auc(rest["relative_distance"], others, rest["arm"].to_list(), level)
        inside = _measured(own, *PRIMARY, level, wide, tolerance)
        if inside["arms"] < inference.FEWEST_ARMS:  # a relation among so few arms would be luck
            inside |= {name: math.nan for name, value in inside.items() if isinstance(value, float)}
        rows.append({"group": group, **inside, **columns(without, "without_auc", "without_")})
    return pl.DataFrame(rows)


# -- words -------------------------------------------------------------------------------------------------------


def _verdict(row: dict[str, Any], by_group: pl.DataFrame, tolerance: float) -> str:
    count, risen, arms = row["runs"], row["not_monotone"], row["arms"]
    if not count:
        return "No line is measured yet."
    if risen in (0, count):
        which = "all are monotone" if not risen else "none is monotone"
        return (
            f"There is nothing to separate: of {count} lines {which} (hump {'above' if risen else 'at most'} "
            f"{tolerance:g} nats)."
        )
    start = f"{risen} of {count} lines are not monotone. "
    area = f"AUC {number(row['auc'])}"
    if math.isnan(row["low"]):
        few = f"{arms} arms are" if arms != 1 else "one arm is"
        return f"{start}There is too little data to say: {area}, and {few} too few for an interval."
    interval = span(row, "low", "high")
    if leaves_out(row, 0.5, "low", "high"):
        which = "larger" if row["low"] > 0.5 else "smaller"
        said = f"{start}They go with a {which} relative distance: {area} ({interval}); 0.5 is no better than a coin."
    else:
        said = f"{start}{inconclusive(f'the {area} of the relative distance', row, none='0.5')}"
    return f"{said}\n{_correlations(row)}\n{_groups(by_group)}"


def _correlations(row: dict[str, Any]) -> str:
    return (
        f"Rank correlation of the relative distance with the hump itself: ρ = {number(row['spearman'])} "
        f"({span(row, 'spearman_low', 'spearman_high')}), τ = {number(row['kendall'])} "
        f"({span(row, 'kendall_low', 'kendall_high')}); inside groups of interventions ρ = {number(row['grouped'])} "
        f"({span(row, 'grouped_low', 'grouped_high')})."
    )


def _groups(by_group: pl.DataFrame) -> str:
    rows = by_group.to_dicts()
    clear = [row for row in rows if leaves_out(row, 0.5, "low_all", "high_all")]
    asked = [row for row in rows if math.isfinite(row["low_all"])]
    if not asked:
        said = "Inside groups of interventions there is too little data: too few arms, or lines of one kind only."
    elif clear:
        words = "; ".join(f"{row['group']} (AUC {number(row['auc'])}, {span(row)})" for row in clear)
        said = f"Inside groups of interventions the interval excludes 0.5 in {len(clear)} of {len(asked)}: {words}."
    else:
        said = f"Inside groups of interventions the interval includes 0.5 in all of {len(asked)} that have one."
    areas = [row["without_auc"] for row in rows if math.isfinite(row["without_auc"])]
    if len(areas) < 2:
        return said
    return f"{said} Leaving out any one group, AUC is between {number(min(areas))} and {number(max(areas))}."


def _headline(row: dict[str, Any]) -> str:
    count, risen, arms = row["runs"], row["not_monotone"], row["arms"]
    lines = f"{count} lines of {arms} arm{'s' * (arms != 1)}, {risen} of them not monotone"
    if not count or risen in (0, count) or math.isnan(row["low"]):
        return f"There is too little data to say whether the distance goes with lines that are not monotone: {lines}."
    if leaves_out(row, 0.5, "low", "high"):
        which = "larger" if row["low"] > 0.5 else "smaller"
        area = f"AUC {number(row['auc'])}, {span(row, 'low', 'high')}; 0.5 is no better than a coin"
        return f"In {lines}, a {which} relative distance goes with lines that are not monotone ({area})."
    what = f"the relative distance's AUC of {number(row['auc'])}"
    return f"{inconclusive(what, row, none='0.5')} {lines}."


def _outcome(row: dict[str, Any]) -> str:
    if not leaves_out(row, 0.5, "low", "high"):
        return "inconclusive"
    return f"yes, {'larger' if row['low'] > 0.5 else 'smaller'} distances with humps"
