"""One answer on the page of a study: its verdict, its tables, its figures."""

from __future__ import annotations

from typing import Any

import polars as pl

from linescape import answers, figures
from linescape.answers import Answer
from linescape.report import columns, page
from linescape.report.page import Drawing, Folder

SCATTERED = ("min_delta", "hump", "tail_rise", "plateau_loss", "barrier_above_chord", "area")
"""The shape numbers that are drawn against test accuracy; the table has all."""


def entry(answer: Answer, runs: pl.DataFrame, place: Folder) -> dict[str, Any]:
    """What the template shows of an answer; its tables are written beside the page."""
    place.table(f"answer-{answer.name}", answer.numbers)
    tables = [page.table(answer.numbers, columns.ANSWERS[answer.name])] if answer.numbers.height else []
    if answer.groups is not None and answer.groups.height:
        place.table(f"answer-{answer.name}-groups", answer.groups)
        tables.append(page.table(answer.groups, columns.GROUPS[answer.name], "By group of interventions."))
    return {
        "name": answer.name,
        "question": answer.question,
        "verdict": answer.verdict,
        "primary": answer.primary,
        "published": answer.published,
        "method": answer.method,
        "tables": tables,
        "drawings": _drawings(answer, runs, place) if answer.numbers.height else [],
    }


def _drawings(answer: Answer, runs: pl.DataFrame, place: Folder) -> list[Drawing]:
    match answer.name:
        case "shape-and-accuracy":
            return _correlations(answer, runs, place)
        case "barrier-and-batchnorm":
            return [_choices(answer, place)]
    return []


def _correlations(answer: Answer, runs: pl.DataFrame, place: Folder) -> list[Drawing]:
    pool = answers.pool(runs)
    numbers = [number for number in SCATTERED if number in answer.numbers["number"]]
    if not numbers or answer.groups is None:
        return []
    notes = {
        row["number"]: f"ρ = {page.number(row['spearman'])} ({page.number(row['low'])} to {page.number(row['high'])})"
        for row in answer.numbers.to_dicts()
    }
    return [
        place.draw(
            "shape-and-accuracy",
            figures.shape_against_accuracy(pool, numbers, notes),
            "Test accuracy over shape numbers of the line. A dot is a run, its colour the group of interventions. "
            "Above: Spearman's rank correlation over all runs with its plain 95 % interval, arms as units.",
        ),
        place.draw(
            "shape-and-accuracy-groups",
            figures.correlations(answer.numbers, answer.groups, numbers),
            "Does one group of interventions make the correlation? Above the line: over all runs, and of ranks "
            "inside groups. Below, for each group: filled, its runs alone, undefined with fewer than four arms; "
            "hollow, all runs but its own. Bars: plain 95 % intervals, arms as units.",
        ),
    ]


def _choices(answer: Answer, place: Folder) -> Drawing:
    return place.draw(
        answer.name,
        figures.choices(answer.numbers),
        "Each answer for six definitions of the barrier (down) under the treatments of BatchNorm (across). Small: "
        "plain 95 % interval. Red: it lies above no relation (0, or 0.5 for AUC); blue: below; grey: it includes "
        "it, inconclusive; white: no interval. Bold: so too when widened for all cells of the panel. Framed: the cell "
        "that the other answers are about.",
    )
