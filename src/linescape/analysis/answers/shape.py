"""Does the shape of the line go with test accuracy? Over all runs, inside groups of interventions, inside arms."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import (
    Answer,
    columns,
    comparisons,
    for_all,
    inconclusive,
    leaves_out,
    listed,
    number,
    pool,
    pooled,
    span,
    widened,
)
from linescape.shape.definitions import DEFINITIONS

_WITH_END = (
    "tail_rise",
    "barrier_above_chord",
    "barrier_above_mean",
    "barrier_above_max_end",
    "area",
    "fraction_below_chord",
)
"""Numbers whose formula holds the loss at the end: what goes with accuracy anyway is a part of them."""


PRIMARY = "hump"
"""Declared before looking: the rank correlation of the hump with test accuracy over all runs. A hump, a rise that is
given back, is what the source calls a barrier; min Delta also counts the rise at the end of a line that overfits."""


def shape_and_accuracy(runs: pl.DataFrame, level: float = 0.95) -> Answer:
    """Rank correlations of each shape number of the whole line (test cross entropy) with test accuracy.

    Over all runs, with arms as the unit of the interval; inside groups of interventions, where differences between
    groups cannot make the correlation; and inside arms, where only the seed differs. See
    `linescape.analysis.inference`.
    Columns of `numbers`: number, label, runs, arms, spearman, low, high, low_all, high_all (widened, but for
    `PRIMARY`), kendall..., grouped... (inside groups), within... (inside arms), within_kendall....
    Columns of `groups`, a row for each number and group: number, label, group, runs, arms, inside... (the runs of
    that group alone, NaN below `inference.FEWEST_ARMS` arms), without... (all runs but those of the group).
    """
    kept = pool(runs).filter(pl.col("test_accuracy").is_not_nan())
    varying = [name for name in DEFINITIONS if kept[f"test_{name}"].drop_nans().n_unique() > 1]
    wide = widened(level, len(varying))
    rows = [_row(name, kept, level, level if name == PRIMARY else wide, wide) for name in varying]
    by_group = _by_group(varying, kept, level)
    constant = [DEFINITIONS[name].label for name in DEFINITIONS if name not in varying]
    method = (
        "Spearman's rank correlation over all runs; inside groups of interventions (ranks within each group, so that "
        "no difference between groups can make it); and inside arms (ranks within each arm). Intervals: Fisher's z "
        "with a jackknife that leaves out one arm at a time, since runs of one arm resemble each other; they speak of "
        f"other interventions like these. Each of the three is widened for {comparisons(len(varying))}, one a shape "
        "statistic, but for the primary contrast. By group: inside that group alone, undefined below "
        f"{inference.FEWEST_ARMS} arms, and over all runs "
        "but its own. "
        f"{pooled(runs, kept)}"
        + (f" Without variation, hence without a correlation: {', '.join(constant)}." if constant else "")
    )
    return Answer(
        "shape-and-accuracy",
        "Does the shape of the line go with test accuracy?",
        _verdict(rows, by_group, kept),
        method,
        pl.DataFrame(rows),
        _headline(rows, kept),
        by_group,
        "the rank correlation of the hump with test accuracy over all runs, since a hump is the source's barrier.",
        _outcome(rows, kept),
    )


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
            own, rest = kept.filter(pl.col("group") == group), kept.filter(pl.col("group") != group)
            arms = own["arm"].n_unique()
            few = arms < inference.FEWEST_ARMS
            inside, outside = (
                (some[f"test_{name}"], some["test_accuracy"], some["arm"].to_list())
                for some in (own.clear() if few else own, rest)
            )
            rows.append(
                {
                    "number": name,
                    "label": DEFINITIONS[name].label,
                    "group": group,
                    "runs": own.height,
                    "arms": arms,
                    **columns(inference.rank_correlation(*inside, level=level), "inside", "inside_"),
                    **for_all(inference.rank_correlation(*inside, level=widest), "inside_"),
                    **columns(inference.rank_correlation(*outside, level=level), "without", "without_"),
                    **for_all(inference.rank_correlation(*outside, level=wide), "without_"),
                }
            )
    return pl.DataFrame(rows)


# -- words -------------------------------------------------------------------------------------------------------


def _clear(rows: list[dict[str, Any]], prefix: str = "", value: str = "spearman") -> list[dict[str, Any]]:
    """Rows whose widened interval leaves zero out, the strongest correlation first."""
    found = [row for row in rows if leaves_out(row, 0, f"{prefix}low_all", f"{prefix}high_all")]
    return sorted(found, key=lambda row: -abs(row[value]))


def _verdict(rows: list[dict[str, Any]], by_group: pl.DataFrame, kept: pl.DataFrame) -> str:
    count, arms = kept.height, kept["arm"].n_unique()
    if arms < inference.FEWEST_ARMS:
        return (
            f"There is too little data to say: an interval across interventions needs {inference.FEWEST_ARMS} arms or "
            f"more, and these {count} runs are of {arms}."
        )
    if not rows:
        return f"The lines of all {count} runs have the same shape statistics, so there is nothing to compare."
    clear = _clear(rows)
    if clear:
        strongest = [f"{row['label']} (ρ = {number(row['spearman'])}, {span(row)})" for row in clear]
        said = (
            f"Across interventions, {len(clear)} of {len(rows)} shape statistics are correlated with test accuracy in "
            f"these {count} runs of {arms} arms: {listed(strongest)}. "
            f"{_without(clear, by_group)}{_by_construction(clear)}"
        )
    else:
        said = (
            f"Across interventions, the interval of every shape statistic's correlation with test accuracy includes 0 "
            f"in these {count} runs of {arms} arms."
        )
        alone = [row for row in rows if leaves_out(row, 0, "low", "high")]
        if alone:
            said += f" Without widening, {len(alone)} of {len(rows)} exclude 0; one in twenty does so by chance."
    return "\n".join(
        [
            _primary(rows),
            said,
            _inside(rows, "grouped", "Inside groups of interventions"),
            _inside(rows, "within", "Inside arms, where only the seed differs,"),
        ]
    )


def _primary(rows: list[dict[str, Any]]) -> str:
    """The primary contrast in a sentence."""
    row = next((row for row in rows if row["number"] == PRIMARY), None)
    if row is None:
        return "No line differs from another in its hump."
    if math.isnan(row["low"]):
        return "There is too little data to say whether the hump is correlated with test accuracy: no interval."
    if row["low"] > 0:
        return f"Lines with a higher hump have higher test accuracy ({_rho(row)})."
    if row["high"] < 0:
        return f"Lines with a higher hump have lower test accuracy ({_rho(row)})."
    return inconclusive(f"the hump's rank correlation ρ = {number(row['spearman'])} with test accuracy", row)


def _outcome(rows: list[dict[str, Any]], kept: pl.DataFrame) -> str:
    row = next((row for row in rows if row["number"] == PRIMARY), None)
    if row is None or kept["arm"].n_unique() < inference.FEWEST_ARMS or not leaves_out(row, 0, "low", "high"):
        return "inconclusive"
    return f"yes, higher humps with {'higher' if row['low'] > 0 else 'lower'} accuracy"


def _inside(rows: list[dict[str, Any]], prefix: str, where: str) -> str:
    found = _clear(rows, f"{prefix}_", prefix)
    if found:
        words = [f"{row['label']} (ρ = {number(row[prefix])})" for row in found]
        return f"{where} these are correlated with it: {listed(words)}."
    if any(math.isfinite(row[f"{prefix}_low_all"]) for row in rows):
        return f"{where} every interval includes 0."
    return f"{where} no interval can be given."


def _without(clear: list[dict[str, Any]], by_group: pl.DataFrame) -> str:
    """Whether these correlations stand when a group of interventions is left out."""
    fragile = []
    for row in clear:
        own = by_group.filter(pl.col("number") == row["number"]).to_dicts()
        lost = [
            part["group"]
            for part in own
            if not leaves_out(part, 0, "without_low_all", "without_high_all") or part["without"] * row["spearman"] < 0
        ]
        if lost:
            fragile.append(f"{row['label']} (without {', '.join(lost)})")
    if not fragile:
        return "Each holds whichever group of interventions is left out."
    stand = len(clear) - len(fragile)
    return f"{stand} of these hold whichever group of interventions is left out; inconclusive then: " + (
        f"{listed(fragile, 6)}."
    )


def _by_construction(clear: list[dict[str, Any]]) -> str:
    held = [row["label"] for row in clear if row["number"] in _WITH_END]
    if not held:
        return ""
    return (
        f" The formula of {listed(held, 6)} holds the loss at the end itself, so a part of "
        f"{'that relation' if len(held) == 1 else 'those relations'} is there by construction."
    )


def _headline(rows: list[dict[str, Any]], kept: pl.DataFrame) -> str:
    count, arms = kept.height, kept["arm"].n_unique()
    if arms < inference.FEWEST_ARMS or not rows:
        return (
            f"There is too little data to say whether the shape of the line goes with test accuracy: {count} runs of "
            f"{arms} arm{'s' * (arms != 1)}."
        )
    said = f"{_primary(rows)} {count} runs of {arms} arms."
    left = len(rows) - any(row["number"] == PRIMARY for row in rows)
    others = [row for row in _clear(rows) if row["number"] != PRIMARY]
    if not left:
        return said
    if not others:
        return f"{said} The widened intervals of all {left} other shape statistics include 0."
    deep = sum(leaves_out(row, 0, "grouped_low_all", "grouped_high_all") for row in others)
    first = others[0]
    return (
        f"{said} Of {left} other shape statistics {len(others)} {'is' if len(others) == 1 else 'are'} correlated with "
        f"test accuracy, most of all {first['label']} ({_rho(first)}), and {deep or 'none'} of these inside groups of "
        "interventions too."
    )


def _rho(row: dict[str, Any]) -> str:
    return f"ρ = {number(row['spearman'])}, {span(row)}"
