"""Do adversarial and pre-trained starts change the barrier, and the test accuracy?"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from linescape import inference
from linescape.answers.answer import Answer, columns, comparisons, for_all, inconclusive, number, span, widened
from linescape.definitions import SHAPES
from linescape.recipe import Barrier, Recipe, Trained, Weights
from linescape.shape import Estimate
from linescape.study import Study
from linescape.tables import LEARNT

ADVERSARIAL, PRETRAINED, RESTARTED = "trained on wrong labels", "pre-trained", "top of a barrier"
"""What a special start is, in words."""

PRIMARY = {ADVERSARIAL: "hump", PRETRAINED: "barrier_above_chord", RESTARTED: "hump"}
"""Declared before looking: the statistic in which each kind of start should differ from its baseline.

Adversarial starts and restarts: the source speaks of barriers that appear or vanish, and a hump is a rise that is
given back. Pre-trained starts: the source's own curves from scratch have no hump either, so that pre-training shows
above the chord (1.88 nats from scratch, 0.36 to 0.50 pre-trained, at the positions of `linescape.published`), not in
min Delta (0.02 and 0.02).
"""

COMPARED = ("hump", "barrier_above_chord", "plateau_loss", "min_delta", "interior_peak", "accuracy")


def starts(study: Study) -> dict[str, str]:
    """Arms whose runs start from another training (partial pre-training apart), and what that start is."""
    return {
        arm.name: _start(arm.runs[0].recipe)
        for arm in study.arms
        if arm.runs and arm.group != "partial" and _start(arm.runs[0].recipe)
    }


def _start(recipe: Recipe) -> str:
    match recipe.init:
        case Trained(recipe=other) if other.data.poison is not None or other.data.label_noise > 0:
            return ADVERSARIAL
        case Trained() | Weights():
            return PRETRAINED
        case Barrier():
            return RESTARTED
    return ""


def sides(runs: pl.DataFrame, arm: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The runs of an arm and of its baseline on the same test set; of those that did not diverge."""
    own = runs.filter((pl.col("arm") == arm) & (pl.col("status") != "diverged"))
    about = runs.filter(pl.col("arm") == arm)
    base = runs.filter(
        (pl.col("arm") == about["baseline"][0])
        & (pl.col("test_set") == about["test_set"][0])
        & (pl.col("status") != "diverged")
    )
    return own, base


def apart(own: pl.DataFrame, base: pl.DataFrame, column: str, paired: bool, level: float) -> tuple[Estimate, int, int]:
    """The difference of an arm's mean from its baseline's, and how many runs of each side enter.

    Statistics of lines by permutation, since barriers are often exactly zero; test accuracy by t intervals. `paired`:
    only runs of both sides with the same seed, by differences within pairs.
    """
    sides = [side.filter(pl.col(column).is_not_null() & pl.col(column).is_not_nan()) for side in (own, base)]
    if paired:
        both = sides[0].join(sides[1], on="seed", suffix="_base", maintain_order="left")
        x, y = both[column], both[f"{column}_base"]
        found = inference.mean(x - y, level) if column == "test_accuracy" else inference.paired_difference(x, y, level)
        return found, both.height, both.height
    x, y = (side[column] for side in sides)
    test = inference.difference if column == "test_accuracy" else inference.permutation_difference
    return test(x, y, level), len(x), len(y)


def start_and_barrier(runs: pl.DataFrame, starts: dict[str, str], level: float = 0.95) -> Answer:
    """By how much the barrier and test accuracy of arms with a special start differ from their baseline's.

    `starts` maps an arm's name to what its start is in words. The verdict is about the statistic that `PRIMARY` names
    for that start, tested without widening, and about test accuracy. Restarts at a barrier are compared with the same
    runs of their baseline, in pairs. Columns of `numbers`: arm, title, start, baseline, number, label, unit, paired,
    primary, runs, baseline_runs, mean, baseline_mean, difference, low, high, low_all, high_all (as low and high where
    `primary`), effect (Hedges' g; NaN for pairs), effect_low, effect_high.
    """
    wide = widened(level, len(starts) * (len(COMPARED) - 1))
    rows: list[dict[str, Any]] = []
    said, here = [], []
    for arm, start in starts.items():
        of_arm = {name: _row(runs, arm, start, name, level, wide) for name in COMPARED}
        rows += of_arm.values()
        first = of_arm[PRIMARY[start]]
        said.append(" ".join(filter(None, [_barrier(first), _accuracy(of_arm["accuracy"]), _not_learnt(runs, arm)])))
        here.append(f"{first['title']} {_outcome(first)}")
    method = (
        "Difference of the means over runs, arm minus its baseline, on the test set: of statistics of lines by "
        "permutation (3 against 3 runs have no 95 % interval; 3 against 4 are the fewest, or 6 pairs), of test "
        "accuracy by Welch's interval. A restart at a barrier is compared with the same seeds of its baseline, in "
        "pairs. All but "
        f"the primary statistic of each arm are widened for {comparisons(len(starts) * (len(COMPARED) - 1))}. g: "
        "Hedges' standardised effect, the difference in units of the runs' pooled standard deviation, with the "
        "interval of the noncentral t distribution (not widened; exact only for normal values of equal spread); "
        "undefined where neither side varies, and for pairs."
    )
    return Answer(
        "start-and-barrier",
        "Does the start change the barrier, and test accuracy? (Adversarial up, pre-trained down)",
        "\n".join(said),
        method,
        pl.DataFrame(rows),
        primary="adversarial starts and restarts by the hump, which the source calls a barrier; pre-trained starts by "
        "the barrier above the chord, since lines from scratch have no hump in the source either.",
        here="; ".join(here),
    )


def _row(runs: pl.DataFrame, arm: str, start: str, name: str, level: float, wide: float) -> dict[str, Any]:
    about = runs.filter(pl.col("arm") == arm)
    own, base = sides(runs, arm)
    column, paired, primary = f"test_{name}", start == RESTARTED, name == PRIMARY[start]
    if paired:  # the same runs
        own, base = (
            side.filter(pl.col(column).is_not_null()).join(other.filter(pl.col(column).is_not_null()), "seed", "semi")
            for side, other in ((own, base), (base, own))
        )
    plain, count, base_count = apart(own, base, column, paired, level)
    x, y = (side[column].drop_nulls().drop_nans() for side in (own, base))
    effect = inference.standardised([] if paired else x, y, level)
    return {
        "arm": arm,
        "title": about["title"][0],
        "start": start,
        "baseline": about["baseline"][0],
        "number": name,
        "label": "test accuracy" if name == "accuracy" else SHAPES[name].label,
        "unit": "%" if name == "accuracy" else SHAPES[name].unit,
        "paired": paired,
        "primary": primary,
        "runs": count,
        "baseline_runs": base_count,
        "mean": inference.mean(x).value,
        "baseline_mean": inference.mean(y).value,
        **columns(plain, "difference"),
        **for_all(plain if primary else apart(own, base, column, paired, wide)[0]),
        **columns(effect, "effect", "effect_"),
    }


# -- words -------------------------------------------------------------------------------------------------------


def _not_learnt(runs: pl.DataFrame, arm: str) -> str:
    """Whether the start is what it is called, where it was trained on wrong labels."""
    errors = runs.filter(pl.col("arm") == arm)["start_error"].drop_nulls()
    failed = errors.filter(errors > LEARNT).len()
    if not failed:
        return ""
    return f"But in {failed} of {errors.len()} runs the wrong labels were not learnt (error above {LEARNT:g} %)."


def runs_of(row: dict[str, Any]) -> str:
    """How many runs were compared, in words."""
    return f"{row['runs']} pairs" if row["paired"] else f"{row['runs']} and {row['baseline_runs']}"


def _barrier(row: dict[str, Any]) -> str:
    """One arm's sentence: what its start does to its primary statistic."""
    name = f"{row['title'][:1].upper()}{row['title'][1:]}"
    if not row["runs"] or not row["baseline_runs"]:
        return f"{name}: not measured yet."
    against = f"{number(row['mean'])} against {number(row['baseline_mean'])} nats"
    if math.isnan(row["low"]):
        if row["mean"] == row["baseline_mean"] == 0:
            both = row["runs"] + row["baseline_runs"]
            return f"{name}: no line of either arm has a {row['label']} ({both} runs), so there is nothing to change."
        return f"{name}: {row['label']} {against}; {_no_interval(row)} ({runs_of(row)}) for a 95 % interval."
    change = f"{number(row['difference'], sign=True)} nats ({span(row, 'low', 'high')})"
    if row["low"] > 0:
        return f"{name} raises the {row['label']}: {against}, {change}."
    if row["high"] < 0:
        return f"{name} lowers the {row['label']}: {against}, {change}."
    what = f"the difference of {number(row['difference'], sign=True)} nats"
    return f"{name}: {row['label']} {against} ({runs_of(row)} runs). {inconclusive(what, row)}"


def _outcome(row: dict[str, Any]) -> str:
    if not row["runs"] or not row["baseline_runs"]:
        return "not measured"
    if row["low"] > 0 or row["high"] < 0:
        return f"{'raises' if row['low'] > 0 else 'lowers'} the {row['label']}"
    if math.isnan(row["low"]):
        return f"inconclusive ({_no_interval(row)})"
    return f"inconclusive ({row['label']})"


def _no_interval(row: dict[str, Any]) -> str:
    """Why there is no interval: all values are equal, one is not finite, or there are too few."""
    if row["mean"] == row["baseline_mean"] == 0:
        return "nothing to change"
    return "too few runs" if math.isfinite(row["difference"]) else "an infinite value among the runs, hence no basis"


def _accuracy(row: dict[str, Any]) -> str:
    """One arm's second sentence: what its start does to test accuracy."""
    if not row["runs"] or not row["baseline_runs"]:
        return ""
    if math.isnan(row["low_all"]):
        return "Test accuracy: no interval."
    change = f"{number(row['difference'], sign=True)} points"
    if row["low_all"] > 0 or row["high_all"] < 0:
        return f"Test accuracy is {'higher' if row['low_all'] > 0 else 'lower'}: {change} ({span(row)})."
    return f"Test accuracy, {change}, is inconclusive: its 95 % interval ({span(row)}) includes 0."
