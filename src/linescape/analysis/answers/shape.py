"""Is the shape of the line correlated with test accuracy? Over all runs, within groups and within arms."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Outcome, columns, excludes, for_all, pool, pooled, widened
from linescape.shape.definitions import DEFINITIONS

_WITH_END = (
    "tail_rise",
    "barrier_above_chord",
    "barrier_above_mean",
    "barrier_above_max_end",
    "area",
    "fraction_below_chord",
)
"""Statistics whose formula contains the loss at the end, which is correlated with accuracy in any case."""

PRIMARY = "hump"
"""Declared before looking: the rank correlation of the hump with test accuracy over all runs. A hump, a rise that is
given back, is what the source calls a barrier; min Delta also counts the rise at the end of a line that overfits."""


def shape_and_accuracy(runs: pl.DataFrame, level: float = 0.95) -> Answer:
    """Rank correlations of each statistic of the whole line (test cross entropy) with test accuracy.

    Over all runs, with arms as the unit of the interval; within groups of interventions, where differences between
    groups cannot cause the correlation; and within arms, where only the seed differs. See
    `linescape.analysis.inference`.
    Columns of `numbers`: number (the statistic's name), label, runs, arms, spearman, low, high, low_all, high_all
    (corrected, but for `PRIMARY`), kendall..., grouped... (within groups), within... (within arms),
    within_kendall....
    Columns of `groups`, a row for each statistic and group: number, label, group, runs, arms, inside... (the runs of
    that group alone, NaN below `inference.FEWEST_ARMS` arms), without... (all runs but those of the group).
    """
    kept = pool(runs).filter(pl.col("test_accuracy").is_not_nan())
    varying = [name for name in DEFINITIONS if kept[f"test_{name}"].drop_nans().n_unique() > 1]
    wide = widened(level, len(varying))
    rows = [_row(name, kept, level, level if name == PRIMARY else wide, wide) for name in varying]
    by_group = _by_group(varying, kept, level)
    primary = next((row for row in rows if row["number"] == PRIMARY), None)
    clear = _clear(rows)
    others = [row for row in clear if row["number"] != PRIMARY]
    facts = {
        **pooled(runs, kept),
        "fewest_arms": inference.FEWEST_ARMS,
        "constant": [DEFINITIONS[name].label for name in DEFINITIONS if name not in varying],
        "primary": primary,
        "statistics": len(rows),
        "clear": clear,
        "uncorrected": sum(excludes(row, 0, "low", "high") for row in rows),
        "fragile": _fragile(clear, by_group),
        "with_end": [row["label"] for row in clear if row["number"] in _WITH_END],
        "grouped": _within(rows, "grouped"),
        "seeds_only": _within(rows, "within"),
        "other_statistics": len(rows) - (primary is not None),
        "others": others,
        "others_within_groups": sum(excludes(row, 0, "grouped_low_all", "grouped_high_all") for row in others),
    }
    outcomes = {PRIMARY: Outcome.of(primary)}
    return Answer("shape-and-accuracy", outcomes, pl.DataFrame(rows), facts, by_group)


def _row(name: str, kept: pl.DataFrame, level: float, across: float, wide: float) -> dict[str, Any]:
    x, y = kept[f"test_{name}"], kept["test_accuracy"]
    arms, groups = kept["arm"].to_list(), kept["group"].to_list()
    row: dict[str, Any] = {
        "number": name,
        "label": DEFINITIONS[name].label,
        "runs": int(x.is_not_nan().sum()),
        "arms": len(set(arms)),
    }
    row |= columns(inference.rank_correlation(x, y, arms, level=level), "spearman")
    row |= for_all(inference.rank_correlation(x, y, arms, level=across))
    row |= columns(inference.rank_correlation(x, y, arms, "kendall", level), "kendall", "kendall_")
    row |= columns(inference.within_groups(x, y, arms, groups, level=level), "grouped", "grouped_")
    row |= for_all(inference.within_groups(x, y, arms, groups, level=wide), "grouped_")
    row |= columns(inference.within_arms(x, y, arms, level=level), "within", "within_")
    row |= for_all(inference.within_arms(x, y, arms, level=wide), "within_")
    row |= columns(inference.within_arms(x, y, arms, "kendall", level), "within_kendall", "within_kendall_")
    return row


def _by_group(varying: list[str], kept: pl.DataFrame, level: float) -> pl.DataFrame:
    groups = kept["group"].unique(maintain_order=True).to_list()
    wide = widened(level, len(varying))
    widest = widened(level, len(varying) * len(groups))
    rows = []
    for name in varying:
        for group in groups:
            within, others = kept.filter(pl.col("group") == group), kept.filter(pl.col("group") != group)
            arms = within["arm"].n_unique()
            few = arms < inference.FEWEST_ARMS
            inside, outside = (
                (some[f"test_{name}"], some["test_accuracy"], some["arm"].to_list())
                for some in (within.clear() if few else within, others)
            )
            rows.append(
                {
                    "number": name,
                    "label": DEFINITIONS[name].label,
                    "group": group,
                    "runs": within.height,
                    "arms": arms,
                    **columns(inference.rank_correlation(*inside, level=level), "inside", "inside_"),
                    **for_all(inference.rank_correlation(*inside, level=widest), "inside_"),
                    **columns(inference.rank_correlation(*outside, level=level), "without", "without_"),
                    **for_all(inference.rank_correlation(*outside, level=wide), "without_"),
                }
            )
    return pl.DataFrame(rows)


def _clear(rows: list[dict[str, Any]], prefix: str = "", value: str = "spearman") -> list[dict[str, Any]]:
    """Rows whose corrected interval excludes 0, the strongest correlation first."""
    clear = [row for row in rows if excludes(row, 0, f"{prefix}low_all", f"{prefix}high_all")]
    return sorted(clear, key=lambda row: -abs(row[value]))


def _within(rows: list[dict[str, Any]], prefix: str) -> dict[str, Any]:
    """Correlations within groups or arms: label and value of the clear ones, and whether any has an interval."""
    correlated = [(row["label"], row[prefix]) for row in _clear(rows, f"{prefix}_", prefix)]
    return {"correlated": correlated, "known": any(math.isfinite(row[f"{prefix}_low_all"]) for row in rows)}


def _fragile(clear: list[dict[str, Any]], by_group: pl.DataFrame) -> list[tuple[str, list[str]]]:
    """Correlations that are no longer clear without some group of interventions: label, and these groups."""
    fragile = []
    for row in clear:
        parts = by_group.filter(pl.col("number") == row["number"]).to_dicts()
        lost = [
            part["group"]
            for part in parts
            if not excludes(part, 0, "without_low_all", "without_high_all") or part["without"] * row["spearman"] < 0
        ]
        if lost:
            fragile.append((row["label"], lost))
    return fragile
