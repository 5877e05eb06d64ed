"""The result of one question as data, and what all questions share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from typing import Any

import polars as pl

from linescape.analysis import tables
from linescape.shape import Estimate


class Outcome(StrEnum):
    """Where the interval of an estimate lies relative to the value of no effect."""

    ABOVE = "above"
    BELOW = "below"
    INCONCLUSIVE = "inconclusive"
    NO_INTERVAL = "no interval"
    NOT_MEASURED = "not measured"

    @classmethod
    def of(cls, row: Mapping[str, Any] | None, low: str = "low", high: str = "high", null: float = 0.0) -> Outcome:
        """The outcome of an interval.

        Args:
            row: the estimate; None gives `NOT_MEASURED`.
            low: its column of the lower end; NaN gives `NO_INTERVAL`.
            high: its column of the upper end.
            null: the value of no effect; an interval that includes it is `INCONCLUSIVE`.
        """
        if row is None:
            return cls.NOT_MEASURED
        if math.isnan(row[low]):
            return cls.NO_INTERVAL
        return cls.ABOVE if row[low] > null else cls.BELOW if row[high] < null else cls.INCONCLUSIVE


class Verdict(StrEnum):
    """Whether a claim of a source holds here."""

    HOLDS = "holds"
    FAILS = "does not hold"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured here"


@dataclass(frozen=True)
class Claim:
    """A claim of a source beside what was found here.

    Attributes:
        claim: in a sentence.
        published: the source's own number, with its setting; empty where none is known.
        measured: what the numbers here are of, with their unit.
        verdict: whether the claim holds here.
        value, low, high: the estimate here and its interval; NaN where there is none.
    """

    claim: str
    published: str
    measured: str
    verdict: Verdict
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(
        cls,
        claim: str,
        published: str,
        measured: str,
        row: Mapping[str, Any] | None,
        value: str,
        expected: Outcome,
        null: float = 0.0,
        ends: tuple[str, str] = ("low_all", "high_all"),
        outcome: Outcome | None = None,
    ) -> Claim:
        """The claim that an estimate lies above or below a value.

        Args:
            claim, published, measured: as the attributes.
            row: the estimate; None if it is not measured.
            value: its column.
            expected: ``ABOVE`` or ``BELOW``.
            null: the value that its interval has to exclude.
            ends: the columns of its interval.
            outcome: where an analysis decides by more than this interval: what it decides.
        """
        if row is None:
            return cls(claim, published, measured, Verdict.NOT_MEASURED)
        found = outcome or Outcome.of(row, *ends, null)
        clear = found in (Outcome.ABOVE, Outcome.BELOW)
        verdict = Verdict.HOLDS if found is expected else Verdict.FAILS if clear else Verdict.INCONCLUSIVE
        return cls(claim, published, measured, verdict, row[value], row[ends[0]], row[ends[1]])


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of one question; `linescape.report.sentences` puts it into words.

    Attributes:
        name: of the question, its tables and its template (``shape-and-accuracy``).
        outcomes: of each primary contrast, by the statistic or arm that it is about; empty where there is none.
        numbers: every estimate.
        facts: what the sentences need: counts, and rows of `numbers` sorted by what their intervals say.
        groups: the same by group of interventions, where the question asks for it.
        finding: what the source of the study reports; empty where the study repeats no other work.
        seeds: of the runs that are done, or what a question counts in their place, such as pairs.
        claims: of the source, each beside what was found here, whether or not it is measured yet.
    """

    name: str
    outcomes: Mapping[str, Outcome]
    numbers: pl.DataFrame
    facts: Mapping[str, Any] = field(repr=False)
    groups: pl.DataFrame | None = None
    finding: str = ""
    seeds: int = 0
    claims: tuple[Claim, ...] = ()


def pool(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs that can be compared: of the most common test set, not diverged, whole line measured."""
    return tables.comparable(runs).filter((pl.col("status") != "diverged") & pl.col("test_min_delta").is_not_null())


def pooled(runs: pl.DataFrame, kept: pl.DataFrame) -> dict[str, int]:
    """How many runs and arms are included, and how many runs are excluded for which reason."""
    same = tables.comparable(runs)
    diverged = int((same["status"] == "diverged").sum())
    return {
        "runs": kept.height,
        "arms": kept["arm"].n_unique(),
        "all_runs": runs.height,
        "on_another_test_set": runs.height - same.height,
        "diverged": diverged,
        "undefined": same.height - diverged - kept.height,
    }


def widened(level: float, comparisons: int) -> float:
    """Bonferroni's level for each of so many intervals that all hold together with probability `level`."""
    return 1 - (1 - level) / max(1, comparisons)


def columns(estimate: Estimate, name: str, prefix: str = "") -> dict[str, float]:
    """An estimate as the columns `name`, `prefix` + low and + high."""
    return {name: estimate.value, f"{prefix}low": estimate.low, f"{prefix}high": estimate.high}


def for_all(estimate: Estimate, prefix: str = "") -> dict[str, float]:
    """A corrected interval as the columns `prefix` + low_all and + high_all."""
    return {f"{prefix}low_all": estimate.low, f"{prefix}high_all": estimate.high}


def leading(
    rows: Iterable[Mapping[str, Any] | None], outcome_of: Callable[[Mapping[str, Any]], Outcome], outcome: Outcome
) -> list[Mapping[str, Any]]:
    """The rows before the first that has another outcome, or is None: of something that is not measured.

    Where the order is fixed before looking, all that is said of them holds together without a correction.
    """
    clear = takewhile(lambda row: row is not None and outcome_of(row) is outcome, rows)
    return [row for row in clear if row is not None]


def in_order(rows: Iterable[Mapping[str, Any]], column: str, order: Iterable[Any]) -> list[Mapping[str, Any] | None]:
    """The row that has each value of a column, for `leading`; None where there is none."""
    known = {row[column]: row for row in rows}
    return [known.get(value) for value in order]


def sortable(value: float) -> float:
    """A value as a key by which the largest is found: NaN, with which every comparison fails, is the smallest."""
    return -math.inf if math.isnan(value) else value


def excludes(row: Mapping[str, Any], value: float, low: str = "low_all", high: str = "high_all") -> bool:
    """Whether an interval excludes a value; NaN excludes nothing.

    Args:
        row: the estimate.
        value: the value of no effect.
        low: column of the lower end.
        high: column of the upper end.
    """
    return bool(row[low] > value or row[high] < value)
