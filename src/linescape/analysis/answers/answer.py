"""What an answer is, which runs it is about, and the words that all answers share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.analysis.wording import number as number  # the answers take it from here
from linescape.shape import Estimate


@dataclass(frozen=True, eq=False)
class Answer:
    """One question and what the runs say.

    Attributes:
        name: short, for a file (``shape-and-accuracy``).
        question: in words.
        verdict: the answer in a few sentences or lines, with numbers and intervals.
        method: how it was found, what was left out.
        numbers: every number behind it.
        headline: the answer in one sentence, if this is one of the study's main questions.
        groups: the same by group of interventions, if it was asked.
        primary: the one contrast that was declared before looking, and why; tested without widening.
        here: the outcome of that contrast in a few words.
        published: what the source of the study answers, beside `here`; empty where there is no such source.
    """

    name: str
    question: str
    verdict: str
    method: str
    numbers: pl.DataFrame
    headline: str = ""
    groups: pl.DataFrame | None = None
    primary: str = ""
    here: str = ""
    published: str = ""


def pool(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs that can be compared: of the most common test set, not diverged, whole line measured."""
    return tables.comparable(runs).filter((pl.col("status") != "diverged") & pl.col("test_min_delta").is_not_null())


def pooled(runs: pl.DataFrame, kept: pl.DataFrame) -> str:
    """How many runs enter, and why others do not."""
    same = tables.comparable(runs)
    other = runs.height - same.height
    diverged = int((same["status"] == "diverged").sum())
    rest = same.height - diverged - kept.height
    left = [(other, "on another test set"), (diverged, "diverged"), (rest, "not measured or undefined")]
    words = ", ".join(f"{number} {why}" for number, why in left if number)
    return f"{kept.height} of {runs.height} runs enter" + (f"; left out: {words}." if words else ".")


def widened(level: float, comparisons: int) -> float:
    """Bonferroni's level for each of so many intervals that all hold together with probability `level`."""
    return 1 - (1 - level) / max(1, comparisons)


def columns(estimate: Estimate, name: str, prefix: str = "") -> dict[str, float]:
    """An estimate as the columns `name`, `prefix` + low and + high."""
    return {name: estimate.value, f"{prefix}low": estimate.low, f"{prefix}high": estimate.high}


def for_all(estimate: Estimate, prefix: str = "") -> dict[str, float]:
    """A widened interval as the columns `prefix` + low_all and + high_all."""
    return {f"{prefix}low_all": estimate.low, f"{prefix}high_all": estimate.high}


def inconclusive(what: str, row: dict[str, Any], low: str = "low", high: str = "high", none: str = "0") -> str:
    """The sentence for an interval that includes the value of no relation; `what` it is an interval of."""
    return f"Inconclusive: the 95 % interval of {what} ({span(row, low, high)}) includes {none}."


def leaves_out(row: dict[str, Any], value: float, low: str, high: str) -> bool:
    """Whether an interval excludes a value; NaN excludes nothing."""
    return bool(row[low] > value or row[high] < value)


def comparisons(count: int) -> str:
    """A number of comparisons in words."""
    return f"{count} comparison{'s' * (count != 1)}"


def listed(words: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    return "; ".join(words[:most]) + (f", and {len(words) - most} more" if len(words) > most else "")


def span(row: dict[str, Any], low: str = "low_all", high: str = "high_all") -> str:
    """An interval in words."""
    if math.isnan(row[low]):
        return "no interval"
    return f"{number(row[low])} to {number(row[high])}"
