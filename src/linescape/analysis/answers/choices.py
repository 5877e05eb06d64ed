"""Do the answers depend on the barrier's definition, or on the treatment of BatchNorm?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference, tables
from linescape.analysis.answers.answer import Answer, comparisons, number, span, widened
from linescape.analysis.answers.contrasts import sides
from linescape.analysis.answers.initialisations import ADVERSARIAL, PRETRAINED, PRIMARY
from linescape.analysis.tables import TOLERANCE, Results
from linescape.shape import Estimate
from linescape.shape.definitions import DEFINITIONS

BARRIERS = (
    "hump",
    "min_delta",
    "interior_peak",
    "barrier_above_chord",
    "barrier_above_mean",
    "barrier_above_max_end",
)
"""The definitions that are set side by side; the first is the primary one of questions that name no other."""

ABOVE, BELOW, INCONCLUSIVE, UNDEFINED = "+", "−", "inconclusive", "undefined"
"""What a cell says: its interval lies above, below or around the value of no relation, or there is none."""

_COLUMNS = ("question", "number", "label", "batchnorm", "runs", "value", "low", "high", "low_all", "high_all", "none")


def barrier_and_batchnorm(
    results: Results, starts: Mapping[str, str], level: float = 0.95, tolerance: float = TOLERANCE
) -> Answer:
    """The main numbers again for each definition of the barrier under each treatment of BatchNorm.

    From the lines labelled ``treatments`` if there are any, else from the whole lines. Columns of `numbers`, a row for
    each question and cell: question, number, label, batchnorm, runs, value, low, high, low_all, high_all (widened for
    the cells of a question), none (the value of no relation), sign (of the plain interval), stands (the widened one has
    the same), main (whether it is the cell that the other answers are about).
    """
    heights = results.heights.filter(pl.col("number").is_in(BARRIERS))
    several = heights.filter(pl.col("label") == "treatments")
    heights = several if several.height else heights
    treatments = heights["batchnorm"].unique(maintain_order=True).to_list()
    wide = widened(level, len(BARRIERS) * len(treatments))
    titles = dict(results.runs.select("arm", "title").iter_rows())
    compared = {arm: titles[arm] for arm, start in starts.items() if start in (ADVERSARIAL, PRETRAINED)}
    asked_of = {_minus_baseline(title): starts[arm] for arm, title in compared.items()}
    rows: list[dict[str, Any]] = []
    for name in BARRIERS:
        for treatment in treatments:
            of_cell = heights.filter((pl.col("number") == name) & (pl.col("batchnorm") == treatment))
            runs = results.runs.join(of_cell.select("arm", "seed", "value"), on=["arm", "seed"], maintain_order="left")
            for question, (none, count, plain, widest) in _asked(runs, compared, level, wide, tolerance).items():
                primary = PRIMARY.get(asked_of.get(question, ""), BARRIERS[0])
                about = (question, name, DEFINITIONS[name].label, treatment, count, plain.value, plain.low, plain.high)
                row = dict(zip(_COLUMNS, (*about, widest.low, widest.high, none), strict=True))
                row["sign"] = _sign(row, "low", "high")
                row["stands"] = row["sign"] in (ABOVE, BELOW) and _sign(row, "low_all", "high_all") == row["sign"]
                row["main"] = name == primary and treatment == treatments[0]
                rows.append(row)
    source = "lines of their own, with fewer positions and examples" if several.height else "the whole lines"
    entered = heights.select("arm", "seed").unique().height
    method = (
        f"{len(BARRIERS)} definitions of the barrier under {len(treatments)} treatment{'s' * (len(treatments) != 1)} "
        f"of BatchNorm, from {source}; {entered} of {results.runs.height} runs have them. ρ: Spearman's of the barrier "
        "with test accuracy; AUC: how well the relative distance singles out runs whose barrier is above "
        f"{tolerance:g} nats; differences of mean barriers in nats, by permutation. + and − are of plain "
        f"{100 * level:g} % intervals, so that a dependence on the choice is rather seen than missed; how many hold "
        f"when widened for {comparisons(len(BARRIERS) * len(treatments))} a question is said. Cells share their runs, "
        "so they are not independent; a sign beside an inconclusive cell is no proof that the two differ: only "
        "opposite signs contradict each other."
    )
    return Answer(
        "barrier-and-batchnorm",
        "Do the answers depend on the barrier's definition or on the treatment of BatchNorm?",
        _verdict(rows),
        method,
        pl.DataFrame(rows),
    )


_Asked = dict[str, tuple[float, int, Estimate, Estimate]]


def _asked(runs: pl.DataFrame, compared: Mapping[str, str], level: float, wide: float, tolerance: float) -> _Asked:
    """Question -> value of no relation, runs, estimate, widened estimate.

    `runs` with a column ``value``; `compared` maps arms to be set against their baselines to their titles.
    """
    known = runs.filter(pl.col("value").is_not_nan() & (pl.col("status") != "diverged"))
    kept = tables.comparable(known)
    measured = kept.filter(pl.col("test_accuracy").is_not_nan())
    moved = kept.filter(pl.col("relative_distance").is_not_nan())
    found: _Asked = {}
    levels = (level, wide)
    arms = measured["arm"].to_list()
    rho, rho_all = (
        inference.rank_correlation(measured["value"], measured["test_accuracy"], arms, level=at) for at in levels
    )
    found["Correlation with test accuracy, ρ"] = (0.0, measured.height, rho, rho_all)
    risen, arms = moved["value"] > tolerance, moved["arm"].to_list()
    area, area_all = (inference.auc(moved["relative_distance"], risen, arms, at) for at in levels)
    found["Relative distance, AUC"] = (0.5, moved.height, area, area_all)
    for arm, title in compared.items():
        own, base = sides(known, arm) if arm in known["arm"] else (known.clear(), known.clear())
        apart, apart_all = (inference.permutation_difference(own["value"], base["value"], at) for at in levels)
        found[_minus_baseline(title)] = (0.0, own.height + base.height, apart, apart_all)
    return found


def _minus_baseline(title: str) -> str:
    return f"{_capital(title)}, minus its baseline"


def _sign(row: dict[str, Any], low: str, high: str) -> str:
    if math.isnan(row[low]):
        return UNDEFINED
    return ABOVE if row[low] > row["none"] else BELOW if row[high] < row["none"] else INCONCLUSIVE


# -- words -------------------------------------------------------------------------------------------------------


def _verdict(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No line is measured yet."
    if all(row["sign"] == UNDEFINED for row in rows):
        return "There is too little data to say: no cell has an interval."
    others = [row for row in rows if not row["main"]]
    mains = {row["question"]: row for row in rows if row["main"]}
    pairs = [(row["sign"], mains[row["question"]]["sign"]) for row in others]
    pairs = [pair for pair in pairs if UNDEFINED not in pair]
    same, against = sum(a == b for a, b in pairs), sum({a, b} == {ABOVE, BELOW} for a, b in pairs)
    said = [
        f"{len(pairs)} of {len(others)} other cells can be compared with the primary one of their question: {same} say "
        f"the same, {against} the opposite; of {len(pairs) - same - against} pairs one is inconclusive."
    ]
    return "\n".join(
        said + [_of_question(main, [r for r in others if r["question"] == q]) for q, main in mains.items()]
    )


def _of_question(main: dict[str, Any], others: list[dict[str, Any]]) -> str:
    """One question's sentence: the main cell, how many agree, which do not."""
    treatments = list(dict.fromkeys(row["batchnorm"] for row in [main, *others]))
    value = f"{number(main['value'])}, {span(main, 'low', 'high')}"
    start = f"{main['question']}, by {main['label']}: {main['sign']} ({value});"
    same = [row for row in others if row["sign"] == main["sign"]]
    parts = []
    for sign in (ABOVE, BELOW, INCONCLUSIVE):
        some = [row for row in others if row["sign"] == sign and sign != main["sign"]]
        if some:
            parts.append(f"{sign} {_where(some, treatments)}{_standing(some)}")
    undefined = sum(row["sign"] == UNDEFINED for row in others)
    if undefined and main["sign"] != UNDEFINED:
        parts.append(f"{undefined} undefined")
    return f"{start} {len(same)} of {len(others)} others the same{''.join(f'; {part}' for part in parts)}."


def _where(rows: list[dict[str, Any]], treatments: list[str]) -> str:
    """Cells in words: each definition with its treatments."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["label"], []).append(row["batchnorm"])
    return "with " + ", ".join(
        label if len(treatments) == 1 else f"{label} ({'all' if len(own) == len(treatments) else ', '.join(own)})"
        for label, own in found.items()
    )


def _standing(rows: list[dict[str, Any]]) -> str:
    """How many of these signs stand when widened; nothing for inconclusive ones."""
    if rows[0]["sign"] not in (ABOVE, BELOW):
        return ""
    return f" [{sum(row['stands'] for row in rows)} of {len(rows)} when widened]"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
