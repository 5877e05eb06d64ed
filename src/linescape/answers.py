"""What a study's runs answer to the questions it was made for, in words that say no more than the intervals.

Four questions (Vlaar & Frankle 2022): does the shape of the line go with test accuracy; does the distance moved tell
monotone lines from others; do adversarial and pre-trained starts change the barrier; does partial pre-training hurt.

Many numbers are compared at once, so each verdict rests on intervals widened by Bonferroni: with m comparisons each
is made at level 1 - (1 - level) / m, so that all of them hold together with probability `level`. Tables show the
plain intervals too. An interval that spans zero means that these runs do not tell, not that there is no effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from linescape import inference, tables
from linescape.definitions import DISTANCES, SHAPES
from linescape.recipe import Barrier, Recipe, Trained, Weights
from linescape.shape import Estimate
from linescape.study import Study
from linescape.tables import TOLERANCE, Results


@dataclass(frozen=True, eq=False)
class Answer:
    """One question and what the runs say.

    Attributes:
        name: short, for a file (``shape-and-accuracy``).
        question: in words.
        verdict: the answer in a few sentences or lines, with numbers and intervals.
        method: how it was found, what was left out.
        numbers: every number behind it.
    """

    name: str
    question: str
    verdict: str
    method: str
    numbers: pl.DataFrame


def answers(results: Results, level: float = 0.95, tolerance: float = TOLERANCE) -> tuple[Answer, ...]:
    """The answers to those questions that the study's arms ask.

    `level` is the probability of an interval; `tolerance` the rise in nats that a monotone line may have.
    """
    found = [shape_and_accuracy(results.runs, level), distance_and_monotonicity(results.runs, level, tolerance)]
    starts = _starts(results.study)
    if starts:
        found.append(start_and_barrier(results.runs, starts, level))
    if any(arm.group == "partial" for arm in results.study.arms):
        found.append(partial_pretraining(results, level))
    return tuple(found)


def shape_and_accuracy(runs: pl.DataFrame, level: float = 0.95) -> Answer:
    """Rank correlations of each shape number of the whole line (test cross entropy) with test accuracy.

    Over all runs, with arms as the unit of the interval, and inside arms, where one group of interventions cannot
    make the correlation; see `linescape.inference`. Columns of `numbers`: number, label, runs, arms, spearman, low,
    high, low_all, high_all (widened), kendall..., within..., within_kendall....
    """
    kept = pool(runs).filter(pl.col("test_accuracy").is_not_nan())
    arms, accuracy = kept["arm"].to_list(), kept["test_accuracy"]
    columns = {number: kept[f"test_{number}"] for number in SHAPES}
    varying = [number for number, column in columns.items() if column.drop_nans().n_unique() > 1]
    wide = _widened(level, len(varying))
    rows: list[dict[str, Any]] = []
    for number in varying:
        x = columns[number]
        row = {
            "number": number,
            "label": SHAPES[number].label,
            "runs": int(x.is_not_nan().sum()),
            "arms": len(set(arms)),
        }
        row |= _three("", inference.rank_correlation(x, accuracy, arms, level=level), "spearman")
        row |= _all(inference.rank_correlation(x, accuracy, arms, level=wide))
        row |= _three("kendall_", inference.rank_correlation(x, accuracy, arms, "kendall", level), "kendall")
        row |= _three("within_", inference.within_arms(x, accuracy, arms, level=level), "within")
        row |= {
            f"within_{end}": value for end, value in _all(inference.within_arms(x, accuracy, arms, level=wide)).items()
        }
        row |= _three("within_kendall_", inference.within_arms(x, accuracy, arms, "kendall", level), "within_kendall")
        rows.append(row)
    numbers = pl.DataFrame(rows)
    constant = [SHAPES[number].label for number in SHAPES if number not in varying]
    method = (
        "Spearman's rank correlation over all runs, and inside arms (ranks within each arm). Intervals: Fisher's z "
        "with a jackknife that leaves out one arm at a time, since runs of one arm resemble each other; they speak of "
        f"other interventions like these. {_pooled(runs, kept)}"
        + (f" Without variation, hence without a correlation: {', '.join(constant)}." if constant else "")
    )
    return Answer(
        "shape-and-accuracy",
        "Does the shape of the line go with test accuracy?",
        _shape_verdict(rows, kept),
        method,
        numbers,
    )


def distance_and_monotonicity(runs: pl.DataFrame, level: float = 0.95, tolerance: float = TOLERANCE) -> Answer:
    """How well the distance moved singles out runs whose line is not monotone: area under the ROC curve.

    The verdict is about the relative distance and min_delta above `tolerance`; the plain distance and `hump` stand
    beside it. Columns of `numbers`: distance, label, rise, rise_label, runs, arms, not_monotone, auc, low,
    high, low_all, high_all.
    """
    kept = pool(runs).filter(pl.col("distance").is_not_null() & pl.col("test_min_delta").is_not_nan())
    arms = kept["arm"].to_list()
    pairs = [(distance, rise) for rise in ("min_delta", "hump") for distance in ("relative_distance", "distance")]
    rows: list[dict[str, Any]] = []
    for distance, rise in pairs:
        risen = kept.select(tables.not_monotone(tolerance, rise)).to_series()
        area = inference.auc(kept[distance], risen, arms, level)
        wide = inference.auc(kept[distance], risen, arms, _widened(level, len(pairs)))
        rows.append(
            {
                "distance": distance,
                "label": DISTANCES[distance].label,
                "rise": rise,
                "rise_label": SHAPES[rise].label,
                "runs": kept.height,
                "arms": len(set(arms)),
                "not_monotone": int(risen.sum()),
                **_three("", area, "auc"),
                **_all(wide),
            }
        )
    method = (
        f"Not monotone: min Δ above {tolerance:g} nats on the test set. AUC: the chance that a run that is not "
        "monotone has moved farther than one that is; 0.5 is a coin. Interval: Newcombe's fifth method with the runs "
        "of an arm counted as one, which is rather too wide. The verdict is about the relative distance and min Δ, "
        f"chosen before looking; the other rows are for context. {_pooled(runs, kept)}"
    )
    return Answer(
        "distance-and-monotonicity",
        "Does the distance moved tell monotone lines from others?",
        _distance_verdict(rows[0], tolerance),
        method,
        pl.DataFrame(rows),
    )


def start_and_barrier(runs: pl.DataFrame, starts: dict[str, str], level: float = 0.95) -> Answer:
    """By how much the mean barrier of arms with a special start differs from their baseline's.

    `starts` maps an arm's name to what its start is in words. The verdict is about min_delta; hump and interior_peak
    stand beside it. Columns of `numbers`: arm, title, start, baseline, number, label, runs, baseline_runs, mean,
    baseline_mean, difference, low, high, low_all, high_all.
    """
    kept = runs.filter((pl.col("status") != "diverged") & pl.col("test_min_delta").is_not_null())
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    wide = _widened(level, len(starts))
    for arm, start in starts.items():
        own = kept.filter(pl.col("arm") == arm)
        about = runs.filter(pl.col("arm") == arm)
        base = kept.filter(pl.col("arm") == about["baseline"][0])
        for number in ("min_delta", "hump", "interior_peak"):
            x, y = own[f"test_{number}"], base[f"test_{number}"]
            plain, widened = (inference.difference(x, y, at) for at in (level, wide))
            row = {
                "arm": arm,
                "title": about["title"][0],
                "start": start,
                "baseline": about["baseline"][0],
                "number": number,
                "label": SHAPES[number].label,
                "runs": len(x),
                "baseline_runs": len(y),
                "mean": inference.mean(x).value,
                "baseline_mean": inference.mean(y).value,
                **_three("", plain, "difference"),
                **_all(widened),
            }
            rows.append(row)
            if number == "min_delta":
                said.append(_change(row))
    method = (
        "Difference of the means over runs, arm minus its baseline, on the test set; Welch's interval. Verdicts are "
        f"about min Δ, widened for {_comparisons(len(starts))}; hump and interior peak are for "
        "context. With few seeds these intervals are wide."
    )
    question = "Does the start change the barrier? (Adversarial up, pre-trained down)"
    return Answer("start-and-barrier", question, "\n".join(said), method, pl.DataFrame(rows))


def partial_pretraining(results: Results, level: float = 0.95) -> Answer:
    """Test accuracy of trained networks with a block set back to random and trained again, against from scratch.

    Columns of `numbers`: as `tables.partial`, and low_all, high_all of the difference.
    """
    plain = tables.partial(results, level)
    tried = plain.filter(pl.col("difference").is_not_null())
    wide = tables.partial(results, _widened(level, tried.height)).select(
        "arm", low_all="difference_low", high_all="difference_high"
    )
    numbers = plain.join(wide, on="arm", how="left", maintain_order="left")
    rows = numbers.filter(pl.col("difference").is_not_null()).to_dicts()
    worse = [row for row in rows if row["high_all"] < 0]
    better = [row for row in rows if row["low_all"] > 0]
    open_ = [row for row in rows if row not in worse and row not in better]
    parts = [
        f"{words}: {'; '.join(_points(row) for row in some)}."
        for words, some in (
            ("Less accurate than from scratch", worse),
            ("More accurate than from scratch", better),
            ("These runs do not tell", open_),
        )
        if some
    ]
    return Answer(
        "partial-pretraining",
        "Does partial pre-training hurt test accuracy?",
        "\n".join(parts) or "No run of these arms and of their baseline is measured yet.",
        "Trained, some blocks set back to random, trained again with the whole recipe. Difference of mean test "
        "accuracy from training from scratch in percentage points; Welch's interval, widened for "
        f"{_comparisons(len(rows))}. Both sides' runs count as independent, though each of these starts from one of "
        "the runs from scratch.",
        numbers,
    )


def pool(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs that can be compared: of the most common test set, not diverged, whole line measured."""
    return tables.comparable(runs).filter((pl.col("status") != "diverged") & pl.col("test_min_delta").is_not_null())


# -- words -------------------------------------------------------------------------------------------------------


def _shape_verdict(rows: Sequence[dict[str, Any]], kept: pl.DataFrame) -> str:
    count, arms = kept.height, kept["arm"].n_unique()
    if arms < inference.FEWEST_ARMS:
        return (
            f"These {count} runs of {arms} arm{'s' * (arms != 1)} do not tell: an interval across interventions needs "
            f"{inference.FEWEST_ARMS} arms or more."
        )
    if not rows:
        return f"The lines of all {count} runs have the same shape numbers, so there is nothing to compare."
    clear = _excluding(rows, "low_all", "high_all", 0)
    alone = [row for row in _excluding(rows, "low", "high", 0) if row not in clear]
    if clear:
        listed = "; ".join(f"{row['label']} (ρ = {_number(row['spearman'])}, {_span(row)})" for row in clear[:3])
        more = f", and {len(clear) - 3} more" if len(clear) > 3 else ""
        said = (
            f"Across interventions, {len(clear)} of {len(rows)} shape numbers go with test accuracy in these {count} "
            f"runs of {arms} arms, allowing for {_comparisons(len(rows))}: {listed}{more}."
        )
    else:
        strongest = max(rows, key=lambda row: abs(row["spearman"]) if math.isfinite(row["low_all"]) else -1)
        said = (
            f"These {count} runs of {arms} arms do not tell: allowing for {_comparisons(len(rows))}, the interval of "
            f"every shape number's correlation spans zero. The largest, {strongest['label']}, has ρ = "
            f"{_number(strongest['spearman'])} and could be anything from {_span(strongest)}."
        )
        if alone:
            said += f" Alone, {len(alone)} of {len(rows)} intervals exclude zero; one in twenty does so by chance."
    inside = _excluding(rows, "within_low_all", "within_high_all", 0)
    if inside:
        listed = "; ".join(f"{row['label']} (ρ = {_number(row['within'])})" for row in inside[:3])
        return f"{said} Inside arms, where only the seed differs, so do {listed}."
    if any(math.isfinite(row["within_low_all"]) for row in rows):
        return f"{said} Inside arms, where only the seed differs, every interval spans zero."
    return f"{said} Inside arms no interval can be given."


def _distance_verdict(row: dict[str, Any], tolerance: float) -> str:
    count, risen, arms = row["runs"], row["not_monotone"], row["arms"]
    if not count:
        return "No line is measured yet."
    if risen in (0, count):
        which = "all are monotone" if not risen else "none is monotone"
        return (
            f"Cannot be asked of these runs: of {count} lines {which} (a rise of at most {tolerance:g} nats), so there "
            "is nothing to tell apart."
        )
    start = f"{risen} of {count} lines are not monotone. "
    area = f"AUC {_number(row['auc'])}"
    if math.isnan(row["low"]):
        return f"{start}These runs do not tell: {area}, and {arms} arms are too few for an interval."
    if row["low"] > 0.5:
        return f"{start}They go with a larger relative distance: {area} ({_span(row, wide=False)}); 0.5 is a coin."
    if row["high"] < 0.5:
        return f"{start}They go with a smaller relative distance: {area} ({_span(row, wide=False)}); 0.5 is a coin."
    return (
        f"{start}The relative distance singles them out with {area}, but the interval, {_span(row, wide=False)}, spans "
        f"0.5, a coin: these {count} runs of {arms} arms do not tell."
    )


def _change(row: dict[str, Any]) -> str:
    """One arm's sentence: what its start does to min Δ."""
    name = f"{row['title'][:1].upper()}{row['title'][1:]}"
    both = row["runs"] + row["baseline_runs"]
    if not row["runs"] or not row["baseline_runs"]:
        return f"{name}: not measured yet."
    against = f"{_number(row['mean'])} against {_number(row['baseline_mean'])} nats"
    if math.isnan(row["low_all"]):
        if row["mean"] == row["baseline_mean"] == 0:
            return f"{name}: no line of either arm rises at all ({both} runs), so there is no barrier to change."
        return f"{name}: min Δ {against}; no interval from these {both} runs."
    apart = f"{_number(row['difference'], sign=True)} nats ({_span(row)})"
    if row["low_all"] > 0:
        return f"{name} raises min Δ: {against}, {apart}."
    if row["high_all"] < 0:
        return f"{name} lowers min Δ: {against}, {apart}."
    if row["low"] > 0 or row["high"] < 0:
        return (
            f"{name}: min Δ {against}, {apart}. Alone its interval would exclude zero; allowing for all comparisons it "
            f"spans it, and these {both} runs do not tell."
        )
    return f"{name}: min Δ {against}, {apart}; the interval spans zero: these {both} runs do not tell."


def _points(row: dict[str, Any]) -> str:
    return f"{row['title']}, {_number(row['difference'], sign=True)} points ({_span(row)})"


def _starts(study: Study) -> dict[str, str]:
    """Arms whose runs start from another training (partial pre-training apart), and what that start is."""
    return {
        arm.name: _start(arm.runs[0].recipe)
        for arm in study.arms
        if arm.runs and arm.group != "partial" and _start(arm.runs[0].recipe)
    }


def _start(recipe: Recipe) -> str:
    match recipe.init:
        case Trained(recipe=other) if other.data.poison is not None or other.data.label_noise > 0:
            return "trained on wrong labels"
        case Trained() | Weights():
            return "pre-trained"
        case Barrier():
            return "top of a barrier"
    return ""


def _pooled(runs: pl.DataFrame, kept: pl.DataFrame) -> str:
    same = tables.comparable(runs)
    other = runs.height - same.height
    diverged = int((same["status"] == "diverged").sum())
    rest = same.height - diverged - kept.height
    left = [(other, "on another test set"), (diverged, "diverged"), (rest, "not measured or undefined")]
    words = ", ".join(f"{number} {why}" for number, why in left if number)
    return f"{kept.height} of {runs.height} runs enter" + (f"; left out: {words}." if words else ".")


def _widened(level: float, comparisons: int) -> float:
    return 1 - (1 - level) / max(1, comparisons)


def _excluding(rows: Iterable[dict[str, Any]], low: str, high: str, value: float) -> list[dict[str, Any]]:
    """Rows whose interval leaves the value out, the strongest correlation first; NaN excludes nothing."""
    found = [row for row in rows if row[low] > value or row[high] < value]
    return sorted(found, key=lambda row: -abs(row["spearman"]))


def _comparisons(count: int) -> str:
    return f"{count} comparison{'s' * (count != 1)}"


def _three(prefix: str, estimate: Estimate, name: str) -> dict[str, float]:
    return {name: estimate.value, f"{prefix}low": estimate.low, f"{prefix}high": estimate.high}


def _all(estimate: Estimate) -> dict[str, float]:
    return {"low_all": estimate.low, "high_all": estimate.high}


def _number(value: float, digits: int = 2, sign: bool = False) -> str:
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return (text.lstrip("-+") if float(text) == 0 else text).replace("-", "−")


def _span(row: dict[str, Any], digits: int = 2, wide: bool = True) -> str:
    low, high = (row["low_all"], row["high_all"]) if wide else (row["low"], row["high"])
    if math.isnan(low):
        return "no interval"
    return f"{_number(low, digits)} to {_number(high, digits)}"
