"""Do the answers depend on the barrier's definition, or on the treatment of BatchNorm?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from linescape.analysis import inference, tables
from linescape.analysis.answers.answer import Answer, widened
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
"""The definitions that are compared; the first is the primary one of questions that name no other."""

ABOVE, BELOW, INCONCLUSIVE, UNDEFINED = "+", "−", "inconclusive", "undefined"
"""Signs of a cell: its interval lies above, below or around the value of no effect, or there is none."""


def barrier_and_batchnorm(
    results: Results, starts: Mapping[str, str], level: float = 0.95, tolerance: float = TOLERANCE
) -> Answer:
    """The main estimates for each definition of the barrier under each treatment of BatchNorm.

    From the lines labelled ``treatments`` if there are any, else from the whole lines.

    Args:
        results: of the study.
        starts: as `initialisations.starts` returns them.
        level: confidence level of the uncorrected intervals.
        tolerance: rise in nats that a monotone line may have.

    Columns of `numbers`, a row for
    each question and cell: question, number, label, batchnorm, runs, value, low, high, low_all, high_all (corrected for
    the cells of a question), none (the value of no effect), sign (of the uncorrected interval), stands (the corrected
    one has the same), main (whether it is the cell that the other answers are about).
    """
    statistics = results.statistics.filter(pl.col("number").is_in(BARRIERS))
    several = statistics.filter(pl.col("label") == "treatments")
    statistics = several if several.height else statistics
    treatments = statistics["batchnorm"].unique(maintain_order=True).to_list()
    wide = widened(level, len(BARRIERS) * len(treatments))
    titles = dict(results.runs.select("arm", "title").iter_rows())
    compared = {arm: titles[arm] for arm, start in starts.items() if start in (ADVERSARIAL, PRETRAINED)}
    asked_of = {_minus_baseline(title): starts[arm] for arm, title in compared.items()}
    rows: list[dict[str, Any]] = []
    for name in BARRIERS:
        for treatment in treatments:
            of_cell = statistics.filter((pl.col("number") == name) & (pl.col("batchnorm") == treatment))
            runs = results.runs.join(of_cell.select("arm", "seed", "value"), on=["arm", "seed"], maintain_order="left")
            for question, (none, count, plain, widest) in _asked(runs, compared, level, wide, tolerance).items():
                primary = PRIMARY.get(asked_of.get(question, ""), BARRIERS[0])
                row = {
                    "question": question,
                    "number": name,
                    "label": DEFINITIONS[name].label,
                    "batchnorm": treatment,
                    **_cell(none, count, plain, widest),
                }
                row["main"] = name == primary and treatment == treatments[0]
                rows.append(row)
    facts = {
        "definitions": len(BARRIERS),
        "treatments": treatments,
        "own_lines": bool(several.height),
        "measured_runs": statistics.select("arm", "seed").unique().height,
        "all_runs": results.runs.height,
        "tolerance": tolerance,
        "level": level,
        **_agreement(rows),
    }
    return Answer("barrier-and-batchnorm", {}, pl.DataFrame(rows), facts)


def _cell(none: float, count: int, plain: Estimate, widest: Estimate) -> dict[str, Any]:
    """An estimate with both intervals, and whether they say the same of the value of no effect."""
    row: dict[str, Any] = {
        "runs": count,
        "value": plain.value,
        "low": plain.low,
        "high": plain.high,
        "low_all": widest.low,
        "high_all": widest.high,
        "none": none,
    }
    sign = _sign(row, "low", "high")
    return row | {"sign": sign, "stands": sign in (ABOVE, BELOW) and _sign(row, "low_all", "high_all") == sign}


_Asked = dict[str, tuple[float, int, Estimate, Estimate]]


def _asked(runs: pl.DataFrame, compared: Mapping[str, str], level: float, wide: float, tolerance: float) -> _Asked:
    """Question -> value of no effect, runs, estimate, estimate with the corrected interval.

    `runs` with a column ``value``; `compared` maps arms that are compared with their baselines to their titles.
    """
    known = runs.filter(pl.col("value").is_not_nan() & (pl.col("status") != "diverged"))
    kept = tables.comparable(known)
    measured = kept.filter(pl.col("test_accuracy").is_not_nan())
    moved = kept.filter(pl.col("relative_distance").is_not_nan())
    estimates: _Asked = {}
    levels = (level, wide)
    arms = measured["arm"].to_list()
    rho, rho_all = (
        inference.rank_correlation(measured["value"], measured["test_accuracy"], arms, level=confidence)
        for confidence in levels
    )
    estimates["Correlation with test accuracy, ρ"] = (0.0, measured.height, rho, rho_all)
    risen, arms = moved["value"] > tolerance, moved["arm"].to_list()
    area, area_all = (inference.auc(moved["relative_distance"], risen, arms, confidence) for confidence in levels)
    estimates["Relative distance, AUC"] = (0.5, moved.height, area, area_all)
    for arm, title in compared.items():
        treated, base = sides(known, arm) if arm in known["arm"] else (known.clear(), known.clear())
        apart, apart_all = (
            inference.permutation_difference(treated["value"], base["value"], confidence) for confidence in levels
        )
        estimates[_minus_baseline(title)] = (0.0, treated.height + base.height, apart, apart_all)
    return estimates


def _minus_baseline(title: str) -> str:
    return f"{title[:1].upper()}{title[1:]}, minus its baseline"


def _sign(row: dict[str, Any], low: str, high: str) -> str:
    if math.isnan(row[low]):
        return UNDEFINED
    return ABOVE if row[low] > row["none"] else BELOW if row[high] < row["none"] else INCONCLUSIVE


def _agreement(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How the other cells compare with the main cell of their question."""
    others = [row for row in rows if not row["main"]]
    mains = {row["question"]: row for row in rows if row["main"]}
    signs = [(row["sign"], mains[row["question"]]["sign"]) for row in others]
    comparable = [pair for pair in signs if UNDEFINED not in pair]
    return {
        "cells": len(rows),
        "known_cells": sum(row["sign"] != UNDEFINED for row in rows),
        "other_cells": len(others),
        "comparable": len(comparable),
        "same": sum(a == b for a, b in comparable),
        "opposite": sum({a, b} == {ABOVE, BELOW} for a, b in comparable),
        "questions": [_question(main, [row for row in others if row["question"] == q]) for q, main in mains.items()],
    }


def _question(main: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
    """One question: the main cell, how many cells agree, and those that do not, by their sign."""
    differing = {}
    for sign in (ABOVE, BELOW, INCONCLUSIVE):
        cells = [row for row in others if row["sign"] == sign != main["sign"]]
        by_label = {
            row["label"]: [cell["batchnorm"] for cell in cells if cell["label"] == row["label"]] for row in cells
        }
        if cells:
            stands = sum(row["stands"] for row in cells)
            differing[sign] = {"cells": len(cells), "by_label": by_label, "stands": stands}
    return {
        "main": main,
        "others": len(others),
        "same": sum(row["sign"] == main["sign"] for row in others),
        "differing": differing,
        "undefined": sum(row["sign"] == UNDEFINED != main["sign"] for row in others),
    }
