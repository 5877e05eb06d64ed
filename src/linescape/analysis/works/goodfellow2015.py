"""Smooth and monotone lines, barriers between solutions, and the way of a training (Goodfellow et al. 2015)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from linescape.analysis import inference
from linescape.analysis.answers.answer import Answer, Claim, Outcome, columns, for_all, widened
from linescape.analysis.tables import Results
from linescape.analysis.works.curves import curves_of, of_runs, share, undefined
from linescape.shape import TOLERANCE, barrier_above_max_end, min_delta
from linescape.shape.statistics import segment
from linescape.studies.works.goodfellow2015 import BEST, BEYOND, NOISE, OTHER

FINDINGS = {
    "smooth-and-monotone": "the loss on the line from start to end is smooth and, with few small exceptions, monotone "
    "(not checked against its text); its scripts measure the line from N(0, 1) too",
    "solution-to-solution": "there is a barrier between two solutions (not checked against its text)",
    "way-of-training": "trainings leave the line; the source draws the distance and gives no number",
}
_NETWORK = "ReLU"


def answers(results: Results, level: float = 0.95) -> tuple[Answer, ...]:
    """Is each line smooth and monotone, is there a barrier between solutions, how far does training leave the line."""
    return _monotone(results, level), _solutions(results, level), _way(results, level)


def largest_step(alphas: ArrayLike, losses: ArrayLike) -> float:
    """The largest change between neighbouring positions, in % of the highest minus the lowest loss; of a straight fall
    100 / steps. Own definition. NaN for a constant or infinite curve."""
    _, values = segment(alphas, losses)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(100 * np.abs(np.diff(values)).max() / np.ptp(values))


@np.errstate(invalid="ignore")
def rise_beyond(alphas: ArrayLike, losses: ArrayLike) -> float:
    """The loss at the last position minus that at alpha = 1; NaN where both are infinite."""
    _, inside = segment(alphas, losses)
    return float(np.asarray(losses, np.float64)[-1] - inside[-1])


def _monotone(results: Results, level: float) -> Answer:
    """How many whole lines of each network are monotone on training loss, and on what else the source reports.

    The interval of a share is Clopper and Pearson's over runs. Columns of `numbers`: arm, title, runs, monotone (runs
    whose loss rises by at most `TOLERANCE`), share_low, share_high (%), rise (mean min Delta, nats), highest (of the
    runs), step (mean of `largest_step`), noise (runs whose line from N(0, 1) is monotone), noise_rise (mean), best
    and best_runs (runs with a line to the epoch that is best on examples held out, and how many of these are
    monotone), beyond (training loss at alpha = 19/9 minus that at the end, nats).
    """
    lines = curves_of(results, "train", "cross_entropy")
    rises, steps = of_runs(lines, min_delta), of_runs(lines, largest_step)
    beyond = of_runs(lines.filter(pl.col("label") == BEYOND), rise_beyond)
    rows: list[dict[str, Any]] = []
    for (arm, title), runs in rises.filter(pl.col("label") == "whole").group_by(["arm", "title"], maintain_order=True):
        noise = rises.filter((pl.col("arm") == arm) & (pl.col("label") == NOISE))["value"]
        monotone = int((runs["value"] <= TOLERANCE).sum())
        row = {"arm": arm, "title": title, "runs": runs.height, "monotone": monotone}
        row |= share(monotone, runs.height, level) | {"rise": runs["value"].mean(), "highest": runs["value"].max()}
        row["step"] = steps.filter((pl.col("arm") == arm) & (pl.col("label") == "whole"))["value"].mean()
        row |= {"noise": int((noise <= TOLERANCE).sum()), "noise_runs": noise.len(), "noise_rise": noise.mean()}
        best = rises.filter((pl.col("arm") == arm) & (pl.col("label") == BEST))["value"]
        row |= {"best": int((best <= TOLERANCE).sum()), "best_runs": best.len()}
        rows.append(row | {"beyond": beyond.filter(pl.col("arm") == arm)["value"].mean()})
    shown = lines.filter(pl.col("label").is_in(["whole", BEYOND, NOISE]))
    counted = rises.filter(pl.col("label").is_in(["whole", NOISE, BEST]))["value"]
    facts = {"rows": rows, "undefined": undefined(counted), "tolerance": TOLERANCE}
    facts |= {"lines": shown, "runs": results.runs}
    name = "smooth-and-monotone"
    claim = Claim.of(
        "The loss falls monotonically from start to end, with few exceptions.",
        "",
        f"monotone lines of the {_NETWORK} network, % (more than half)",
        next(({**row, "share": 100 * row["monotone"] / row["runs"]} for row in rows if row["arm"] == "relu"), None),
        "share",
        Outcome.ABOVE,
        50.0,
        ("share_low", "share_high"),
    )
    return Answer(name, {}, pl.DataFrame(rows), facts, finding=FINDINGS[name], claims=(claim,))


def _solutions(results: Results, level: float) -> Answer:
    """The barrier on training loss between the ends of two trainings, compared with `TOLERANCE`.

    Pairs of neighbouring seeds share networks, so with n runs the n barriers are not independent; the interval is a t
    interval over the n // 2 pairs that have none in common. Columns of `numbers`: arm, title, pairs (measured), free
    (without common networks), barrier (above the higher end, mean over the latter, nats), low, high, low_all, high_all
    (Bonferroni over networks), lowest (of all pairs).
    """
    lines = curves_of(results, "train", "cross_entropy").filter(pl.col("label") == OTHER)
    barriers = of_runs(lines, barrier_above_max_end)
    wide = widened(level, barriers["arm"].n_unique())
    rows = []
    for (arm, title), pairs in barriers.group_by(["arm", "title"], maintain_order=True):
        free = pairs.sort("seed")["value"].gather_every(2).head(pairs.height // 2 or 1)
        row = {"arm": arm, "title": title, "pairs": pairs.height, "free": free.len()}
        row |= columns(inference.bounded(inference.mean(free, level), 0.0, math.inf), "barrier")
        rows.append(
            row
            | for_all(inference.bounded(inference.mean(free, wide), 0.0, math.inf))
            | {"lowest": pairs["value"].min()}
        )
    outcomes = {row["arm"]: Outcome.of(row, "low_all", "high_all", null=TOLERANCE) for row in rows}
    facts = {"rows": rows, "tolerance": TOLERANCE, "lines": lines, "runs": results.runs}
    name = "solution-to-solution"
    claim = Claim.of(
        "There is a barrier between two solutions.",
        "",
        f"barrier of training loss above the higher end, {_NETWORK} network, nats (more than {TOLERANCE:g})",
        next((row for row in rows if row["arm"] == "relu"), None),
        "barrier",
        Outcome.ABOVE,
        TOLERANCE,
    )
    return Answer(name, outcomes, pl.DataFrame(rows), facts, finding=FINDINGS[name], claims=(claim,))


def _way(results: Results, level: float) -> Answer:
    """How far a training leaves the straight line from its start to its end.

    Columns of `numbers`: arm, title, runs, beside (the largest distance of a kept state from the line, in lengths of
    the line: mean over runs), low, high (t interval over runs), along (the alpha of that state's nearest point, mean).
    """
    inner = results.trajectories.filter(~pl.col("state").is_in(["start", "end"]) & pl.col("beside").is_not_nan())
    farthest = inner.group_by(["arm", "title", "seed"], maintain_order=True).agg(
        pl.col("beside").max(), pl.col("along").get(pl.col("beside").arg_max())
    )
    rows = [
        {"arm": arm, "title": title, "runs": runs.height}
        | columns(inference.bounded(inference.mean(runs["beside"], level), 0.0, math.inf), "beside")
        | {"along": runs["along"].mean()}
        for (arm, title), runs in farthest.group_by(["arm", "title"], maintain_order=True)
    ]
    facts = {"rows": rows, "trajectories": results.trajectories}
    name = "way-of-training"
    return Answer(name, {}, pl.DataFrame(rows), facts, finding=FINDINGS[name])
