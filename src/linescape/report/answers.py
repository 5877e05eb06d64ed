"""One answer on the page of a study: its verdict, its tables, its figures."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis import answers
from linescape.analysis.answers import Answer
from linescape.analysis.tables import TOLERANCE
from linescape.report import columns, figures, page
from linescape.report.page import Drawing, Folder
from linescape.shape.definitions import DEFINITIONS

SCATTERED = ("min_delta", "hump", "tail_rise", "plateau_loss", "barrier_above_chord", "area")
"""The shape numbers that are drawn against test accuracy; the table has all."""

_WHOLE = 0.95
"""An interval that covers this share of all possible values is taken for the whole range: it says nothing."""


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
        "left_out": _left_out(answer),
    }


def _says_nothing(low: float, high: float, span: float) -> bool:
    """Whether an interval is undefined, or the whole range of so many units but for little."""
    return not high - low < _WHOLE * span


def _empty(answer: Answer) -> list[str]:
    """The panels that would show nothing: shape statistics by name, or questions of the barrier's definition."""
    rows = answer.numbers.to_dicts()
    if answer.name == "shape-and-accuracy":
        drawn = [row for row in rows if row["number"] in SCATTERED]
        return [row["number"] for row in drawn if _says_nothing(row["low"], row["high"], 2)]
    if answer.name == "barrier-and-batchnorm":
        spans = {"ρ": 2.0, "AUC": 1.0}  # a difference has no largest one
        telling = {
            row["question"]
            for row in rows
            if not _says_nothing(row["low"], row["high"], spans.get(row["question"].split(", ")[-1], math.inf))
        }
        return list(dict.fromkeys(row["question"] for row in rows if row["question"] not in telling))
    return []


def _left_out(answer: Answer) -> str:
    """The panels that are not drawn, in one line; empty if all are."""
    empty = [DEFINITIONS[name].label if name in DEFINITIONS else name for name in _empty(answer)]
    if not empty:
        return ""
    return f"Not drawn, since their intervals are undefined or nearly the whole range: {'; '.join(empty)}."


def _drawings(answer: Answer, runs: pl.DataFrame, place: Folder) -> list[Drawing]:
    match answer.name:
        case "shape-and-accuracy":
            return _correlations(answer, runs, place)
        case "barrier-and-batchnorm":
            drawn = answer.numbers.filter(~pl.col("question").is_in(_empty(answer)))
            return [_choices(answer.name, drawn, place)] if drawn.height else []
        case "layers-and-line":
            return [_blocks(answer, place)]
    return []


def _correlations(answer: Answer, runs: pl.DataFrame, place: Folder) -> list[Drawing]:
    pool = answers.pool(runs)
    known, empty = set(answer.numbers["number"]), _empty(answer)
    numbers = [number for number in SCATTERED if number in known and number not in empty]
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


def _blocks(answer: Answer, place: Folder) -> Drawing:
    arm = answer.numbers["arm"][0]
    own = answer.numbers.filter((pl.col("arm") == arm) & (pl.col("measure") == "cross_entropy"))
    return place.draw(
        answer.name,
        figures.layerwise(own, TOLERANCE),
        "Each block's line in numbers, test loss. Dots: mean over runs; thin: lowest to highest run; thick: 95 % t "
        "interval over runs, not widened, absent for a single run. Dotted in the middle: 0.05 nats, above which a hump "
        "counts.",
    )


def _choices(name: str, drawn: pl.DataFrame, place: Folder) -> Drawing:
    return place.draw(
        name,
        figures.choices(drawn),
        "Each answer for six definitions of the barrier (down) under the treatments of BatchNorm (across). Small: "
        "plain 95 % interval. Red: it lies above no relation (0, or 0.5 for AUC); blue: below; grey: it includes "
        "it, inconclusive; white: no interval. Bold: so too when widened for all cells of the panel. Framed: the cell "
        "that the other answers are about.",
    )
