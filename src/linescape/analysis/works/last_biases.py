"""Whether larger gaps of the last biases go with longer plateaus (Wang et al. 2023, arXiv 2210.01019)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of
from linescape.interpolation.by_class import ClassErrors
from linescape.shape import plateau_error
from linescape.studies.study import Classes

WITHIN, WHOLE = "within networks", "whole"
TOLERANCE = 0.05
"""A class leaves chance where its error falls below this share under that of guessing, as of `shape.plateau_error`."""

CANDIDATES: Mapping[str, str] = {
    "last": "the class that leaves chance last along the line",
    "worst": "the class with the highest error at the end",
    "taken": "the class recognised on the plateau",
}
"""Columns of `by_run` with a class whose bias is looked at."""

_RUN: dict[str, Any] = {
    **dict.fromkeys(("arm", "title"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("plateau", "gap", "deviation"), pl.Float64),
    **dict.fromkeys(("classes", "largest", *CANDIDATES), pl.Int64),
    **dict.fromkeys((f"{name}_rank" for name in CANDIDATES), pl.Int64),
}


def answer(runs: pl.DataFrame, level: float) -> Answer:
    """The rank correlation of the gap of the last biases with the length of the plateau.

    Primary, declared before looking: within networks of one kind, since depth and start change both. Runs of one seed
    have the same order of the images, and the base and half the start the same draw, so the seed is the unit of the
    jackknife interval: none below `inference.FEWEST_ARMS` seeds. The deviation and all runs together are uncorrected.

    Columns of `numbers`: those of `by_run`.
    """
    titles, seeds = runs["title"].to_list(), [str(seed) for seed in runs["seed"]]
    rows = []
    for of in ("gap", "deviation"):
        x, y = runs[of], runs["plateau"]
        both = (
            (WITHIN, inference.within_groups(x, y, seeds, titles, level=level)),
            ("all runs", inference.rank_correlation(x, y, seeds, level=level)),
        )
        rows += [{"of": of, "among": among, "runs": runs.height} | columns(found, "rho") for among, found in both]
    primary = rows[0] if runs.height else None
    facts = {"correlations": rows, "primary": primary, "seeds": len(set(seeds)), "fewest": inference.FEWEST_ARMS}
    claim = Claim.of(
        "Larger gaps of the last biases go with longer plateaus.",
        "",
        "rank correlation of gap and plateau within networks of one kind",
        primary,
        "rho",
        Outcome.ABOVE,
        ends=("low", "high"),
    )
    finding = "the plateau is due to the gap of the last biases, and lengthens with it"
    outcomes = {WITHIN: Outcome.of(primary)}
    return Answer("last-biases", outcomes, runs, facts | {"points": runs}, finding=finding, claims=(claim,))


def by_run(results: Results) -> pl.DataFrame:
    """A row for each run whose last biases and errors by class are known and whose training did not diverge.

    Columns: arm, title, seed, plateau (share of the straight line with training error at 95 % of chance or above), gap
    (largest minus smallest bias of the last layer at the end, logits), deviation (over classes, logits; that both are
    of the end alone is our choice), classes (how many), largest (the class with the largest bias), and of `CANDIDATES`
    a class or null, and as ..._rank the rank of its bias, 1 the largest.
    """
    chances = dict(results.runs.select("arm", "chance_error").iter_rows())
    lines = curves_of(results, "train", "error").filter(pl.col("label") == WHOLE)
    known = results.of(Classes)
    rows = []
    for (arm, title, seed), line in lines.group_by(["arm", "title", "seed"], maintain_order=True):
        found: ClassErrors | None = known.get((str(arm), seed, WHOLE))
        if found is None:
            continue
        plateau = plateau_error(line["alpha"].to_numpy(), line["mean"].to_numpy(), chances[arm])
        row = {"arm": arm, "title": title, "seed": seed, "plateau": float(plateau)}
        row |= {"gap": found.gap, "deviation": found.deviation, "classes": len(found.biases)}
        rows.append(row | {"largest": int(found.biases.argmax())} | dict(_candidates(found)))
    return pl.DataFrame(rows, _RUN)


def leaves_chance(found: ClassErrors) -> np.ndarray:
    """Where the error of each class is at chance for the last time, as an alpha ``(classes,)``.

    Chance is the error of guessing, 100 (1 - 1/classes) %, less `TOLERANCE`; between positions errors are taken as
    straight. Infinite where the class is at chance at the end, minus infinite where it never is, as one is that all
    examples are taken for; NaN where an error is none.
    """
    count = len(found.biases)
    level = (1 - TOLERANCE) * 100 * (1 - 1 / count)
    return np.array([_last_crossing(found.alphas, found.errors[:, number], level) for number in range(count)])


def _last_crossing(alphas: np.ndarray, errors: np.ndarray, level: float) -> float:
    above = np.flatnonzero(errors >= level)
    if np.isnan(errors).any():
        return math.nan
    if not above.size:
        return -math.inf
    if (at := int(above[-1])) == len(alphas) - 1:
        return math.inf
    share = (errors[at] - level) / (errors[at] - errors[at + 1])
    return float(alphas[at] + share * (alphas[at + 1] - alphas[at]))


def _candidates(found: ClassErrors) -> Iterator[tuple[str, int | None]]:
    """The classes of `CANDIDATES` and the ranks of their biases; None where two are equal or there is none."""
    chance = 100 * (1 - 1 / len(found.biases))
    mean = found.errors @ found.counts / found.counts.sum()
    flat = (mean >= (1 - TOLERANCE) * chance) & (found.alphas > 0)
    of_class = {
        "last": leaves_chance(found),
        "worst": found.errors[-1],
        "taken": -found.errors[flat].mean(axis=0) if flat.any() else np.full(len(found.biases), np.nan),
    }
    for name, values in of_class.items():
        chosen = _only_highest(values)
        yield name, chosen
        yield f"{name}_rank", None if chosen is None else 1 + int((found.biases > found.biases[chosen]).sum())


def _only_highest(values: np.ndarray) -> int | None:
    """The place of the highest value; None if it is not the only one, or a value is NaN."""
    places = np.flatnonzero(values == values.max())
    return int(places[0]) if places.size == 1 else None
