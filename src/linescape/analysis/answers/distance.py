"""Does the distance moved distinguish monotone lines from others?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import inference, tables
from linescape.analysis.answers.answer import Answer, Outcome, columns, excludes, for_all, pool, pooled, widened
from linescape.analysis.tables import TOLERANCE
from linescape.shape.definitions import DEFINITIONS, DISTANCES

PRIMARY = ("relative_distance", "hump")
"""Declared before looking: the AUC of the relative distance for lines with a hump above the tolerance. The source's
lines that are not monotone have a barrier, a rise that is given back; min Delta counts the overfit end too."""


def distance_and_monotonicity(runs: pl.DataFrame, level: float = 0.95, tolerance: float = TOLERANCE) -> Answer:
    """How well the distance moved identifies runs whose line is not monotone, and its correlation with the rise itself.

    The primary contrast is about the relative distance and a hump above `tolerance` (area under the ROC curve); rank
    correlations, the plain distance and `min_delta` are given for context. Columns of `numbers`: distance, label, rise,
    rise_label, runs, arms, not_monotone, auc, low, high, low_all, high_all (corrected, but for `PRIMARY`), spearman...,
    kendall..., grouped... (Spearman within groups of interventions).
    Columns of `groups`, for the primary pair: group, runs, arms, not_monotone, auc, low, high, low_all, high_all,
    spearman..., kendall... of the runs of that group alone (NaN below `inference.FEWEST_ARMS` arms), without_auc,
    without_low, without_high of all others.
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
    groups = by_group.to_dicts()
    areas = [row["without_auc"] for row in groups if math.isfinite(row["without_auc"])]
    facts = {
        **pooled(runs, kept),
        "fewest_arms": inference.FEWEST_ARMS,
        "tolerance": tolerance,
        "comparisons": len(pairs) - 1,
        "primary": rows[0],
        "groups": len(groups),
        "groups_with_interval": sum(math.isfinite(row["low_all"]) for row in groups),
        "clear_groups": [row for row in groups if excludes(row, 0.5)],
        "areas_without_a_group": (min(areas), max(areas)) if len(areas) > 1 else None,
    }
    outcomes = {PRIMARY[0]: Outcome.of(rows[0], null=0.5)}
    return Answer("distance-and-monotonicity", outcomes, pl.DataFrame(rows), facts, by_group)


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
        within, without_group = kept.filter(pl.col("group") == group), kept.filter(pl.col("group") != group)
        others = without_group.select(tables.not_monotone(tolerance, PRIMARY[1])).to_series()
        without = inference.auc(without_group["relative_distance"], others, without_group["arm"].to_list(), level)
        inside = _measured(within, *PRIMARY, level, wide, tolerance)
        if inside["arms"] < inference.FEWEST_ARMS:  # among so few arms an AUC is chance
            inside |= {name: math.nan for name, value in inside.items() if isinstance(value, float)}
        rows.append({"group": group, **inside, **columns(without, "without_auc", "without_")})
    return pl.DataFrame(rows)
