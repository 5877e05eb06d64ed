"""One answer on the page of a study: its sentences, tables and figures."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape.analysis.answers import Answer, pool
from linescape.analysis.tables import TOLERANCE
from linescape.report import columns, columns_of_works, figures, page, works
from linescape.report.page import Drawing, Folder
from linescape.report.sentences import Sentences
from linescape.report.text import caption, interval, number
from linescape.shape.definitions import DEFINITIONS

SCATTERED = ("min_delta", "hump", "tail_rise", "plateau_loss", "barrier_above_chord", "area")
"""The shape statistics that are drawn against test accuracy; the table has all."""

_WHOLE_RANGE = 0.95
"""An interval that covers this share of all possible values is uninformative."""


def answer_entry(answer: Answer, words: Sentences, runs: pl.DataFrame, output: Folder) -> dict[str, Any]:
    """What the template shows of an answer; its tables are written beside the page.

    Args:
        answer: the answer.
        words: its sentences.
        runs: `tables.Results.runs`.
        output: the folder of the page.
    """
    output.table(f"answer-{answer.name}", answer.numbers)
    shown = columns.ANSWERS | columns_of_works.COLUMNS
    tables = [page.table(answer.numbers, shown[answer.name])] if answer.numbers.height else []
    if answer.groups is not None and answer.groups.height:
        output.table(f"answer-{answer.name}-groups", answer.groups)
        tables.append(page.table(answer.groups, columns.GROUPS[answer.name], "By group of interventions."))
    empty = [DEFINITIONS[name].label if name in DEFINITIONS else name for name in _empty(answer)]
    return {
        "name": answer.name,
        "words": words,
        "tables": tables,
        "drawings": _drawings(answer, runs, output) if answer.numbers.height else [],
        "not_drawn": caption("not_drawn", panels=empty) if empty else "",
    }


def _uninformative(low: float, high: float, span: float) -> bool:
    """Whether an interval is undefined, or covers nearly the whole range, which is `span` wide."""
    return not high - low < _WHOLE_RANGE * span


def _empty(answer: Answer) -> list[str]:
    """Panels without an informative interval: names of shape statistics, or questions of `barrier-and-batchnorm`."""
    rows = answer.numbers.to_dicts()
    if answer.name == "shape-and-accuracy":
        drawn = [row for row in rows if row["number"] in SCATTERED]
        return [row["number"] for row in drawn if _uninformative(row["low"], row["high"], 2)]
    if answer.name == "barrier-and-batchnorm":
        spans = {"ρ": 2.0, "AUC": 1.0}  # a difference has no largest one
        informative = {
            row["question"]
            for row in rows
            if not _uninformative(row["low"], row["high"], spans.get(row["question"].split(", ")[-1], math.inf))
        }
        return list(dict.fromkeys(row["question"] for row in rows if row["question"] not in informative))
    return []


def _drawings(answer: Answer, runs: pl.DataFrame, output: Folder) -> list[Drawing]:
    if answer.name in works.DRAWINGS:
        return works.DRAWINGS[answer.name](answer, output)
    match answer.name:
        case "shape-and-accuracy":
            return _correlations(answer, runs, output)
        case "barrier-and-batchnorm":
            drawn = answer.numbers.filter(~pl.col("question").is_in(_empty(answer)))
            return [output.draw(answer.name, figures.choices(drawn), caption("choices"))] if drawn.height else []
        case "layers-and-line":
            return [_blocks(answer, output)]
    return []


def _correlations(answer: Answer, runs: pl.DataFrame, output: Folder) -> list[Drawing]:
    known, empty = set(answer.numbers["number"]), _empty(answer)
    shown = [name for name in SCATTERED if name in known and name not in empty]
    if not shown or answer.groups is None:
        return []
    notes = {row["number"]: f"ρ = {number(row['spearman'])} ({interval(row)})" for row in answer.numbers.to_dicts()}
    scatter = figures.shape_against_accuracy(pool(runs), shown, notes)
    by_group = figures.correlations(answer.numbers, answer.groups, shown)
    return [
        output.draw("shape-and-accuracy", scatter, caption("shape_and_accuracy")),
        output.draw("shape-and-accuracy-groups", by_group, caption("correlations")),
    ]


def _blocks(answer: Answer, output: Folder) -> Drawing:
    arm = answer.numbers["arm"][0]
    losses = answer.numbers.filter((pl.col("arm") == arm) & (pl.col("measure") == "cross_entropy"))
    words = caption("layer_statistics", tolerance=TOLERANCE)
    return output.draw(answer.name, figures.layerwise(losses, TOLERANCE), words)
